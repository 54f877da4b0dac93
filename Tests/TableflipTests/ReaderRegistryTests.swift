// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

@testable import Tableflip

@Suite struct ReaderRegistryTests {
    @Test func `a connection goes to the reader of its listener, else to the first of any, else to nobody`() throws {
        let registry = ReaderRegistry()
        #expect(registry.all.isEmpty)
        #expect(registry.reader(for: "web") == nil)
        _ = registry.add(FakeReader("admin", for: "admin"))
        #expect(registry.reader(for: "web") == nil)
        _ = registry.add(FakeReader("any", for: nil))
        _ = registry.add(FakeReader("web", for: "web"))
        _ = registry.add(FakeReader("web again", for: "web"))
        func name(_ listener: String) throws -> String {
            try #require(registry.reader(for: listener) as? FakeReader).name
        }
        #expect(try name("web") == "web")
        #expect(try name("admin") == "admin")
        #expect(try name("other") == "any")
        #expect(registry.all.count == 4)
    }
}
