// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

@Suite struct StoreNameTests {
    @Test(arguments: ["tcp://127.0.0.1:8080", "unix:@abstract", "ünï cödé", "100%", "%3A", "a/b/c", "\n"])
    func `a name is the same after a stay in the store`(_ name: String) throws {
        let stored = StoreName(InventoryEntry(name: name, kind: .state, address: "", version: 7))
        let text = try #require(stored.text)
        // What fdname_is_valid of systemd's src/basic/fd-util.c lets pass.
        #expect(text.utf8.allSatisfy { (0x20..<0x7f).contains($0) && $0 != UInt8(ascii: ":") })
        #expect(StoreName(text) == stored)
    }

    @Test func `a name that is too long is none`() {
        let name = String(repeating: "x", count: 250)
        #expect(StoreName(InventoryEntry(name: name, kind: .listener, address: "")).text == nil)
    }

    @Test(arguments: ["web.socket", "tableflip", "tableflip/", "tableflip/9/0/x", "tableflip/1/x", "tableflip/1/0/%3"])
    func `what this library did not name is none`(_ text: String) { #expect(StoreName(text) == nil) }
}
