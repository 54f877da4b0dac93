// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@Suite struct InventoryDigestTests {
    private let web = InventoryEntry(name: "web", kind: .listener, address: "tcp://127.0.0.1:80")
    private let log = InventoryEntry(name: "log", kind: .file, address: "")

    @Test func `the same entries in the same order have one digest`() {
        #expect(digest((web, 1), (log, 2)) == digest((web, 1), (log, 2)))
    }

    @Test func `the order matters`() {
        #expect(digest((web, 1), (log, 2)) != digest((log, 2), (web, 1)))
    }

    @Test func `the identity matters in each of its bytes`() {
        let one = digest((web, 1))
        for shift in stride(from: UInt64(0), to: 64, by: 8) where shift > 0 {
            #expect(digest((web, 1 | 1 << shift)) != one, "byte \(shift / 8)")
        }
        #expect(digest((web, 2)) != one)
    }

    @Test func `the kind matters`() {
        let all = DescriptorKind.allCases.map { digest((.init(name: "x", kind: $0, address: ""), 0)) }
        #expect(Set(all).count == DescriptorKind.allCases.count)
    }

    @Test func `the borders between names and addresses matter`() {
        #expect(
            digest((.init(name: "ab", kind: .file, address: "c"), 0))
                != digest((.init(name: "a", kind: .file, address: "bc"), 0))
        )
        #expect(
            digest((.init(name: "ab", kind: .file, address: ""), 0), (.init(name: "c", kind: .file, address: ""), 0))
                != digest(
                    (.init(name: "a", kind: .file, address: ""), 0), (.init(name: "bc", kind: .file, address: ""), 0)
                )
        )
    }

    @Test func `an entry left out matters`() {
        #expect(digest((web, 1), (log, 2)) != digest((web, 1)))
        #expect(digest((web, 1)) != digest())
    }

    /// Computed by another program from `docs/protocol.md`: a change here is a change of the protocol.
    @Test func `the digest is the one of version 1`() {
        #expect(digest() == 0xcbf2_9ce4_8422_2325)
        #expect(digest((web, 0x0102_0304_0506_0708)) == 0xf373_53f5_313d_6d62)
        #expect(digest((web, 1), (log, .max)) == 0xa9e9_b31c_9e30_9e67)
    }

    private func digest(_ entries: (InventoryEntry, UInt64)...) -> UInt64 {
        var digest = InventoryDigest()
        for (entry, identity) in entries { digest.combine(entry, identity: identity) }
        return digest.value
    }
}
