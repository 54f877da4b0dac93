// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What kind of thing a carried descriptor is. The raw values are those of the wire format.
public enum DescriptorKind: UInt8, Hashable, Sendable, CaseIterable {
    /// Connections are accepted from it.
    case listener = 1
    /// Datagrams arrive on it.
    case datagram = 2
    /// A connected stream.
    case connection = 3
    /// Anything else with a descriptor.
    case file = 4
    /// A blob of named state.
    case state = 5
}

/// One carried descriptor, by the words it is known by.
package struct InventoryEntry: Hashable, Sendable {
    /// Unique within an inventory.
    package var name: String
    package var kind: DescriptorKind
    /// The address asked for, in words; empty for what has none.
    package var address: String
    /// The layout of a state's contents; 0 for everything else.
    package var version: UInt16

    package init(name: String, kind: DescriptorKind, address: String, version: UInt16 = 0) {
        self.name = name
        self.kind = kind
        self.address = address
        self.version = version
    }
}

/// Both processes compute it over the claimed descriptors, each from its own copies. Equal: they hold the same things.
///
/// FNV-1a in 64 bits: it guards against mistakes (a descriptor closed and its number reused), not against an attacker,
/// who would have to be one of the two processes.
package struct InventoryDigest: Hashable, Sendable {
    package private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    private static let prime: UInt64 = 0x100_0000_01b3

    package init() {}

    /// Adds an entry.
    /// - Parameters:
    ///   - entry: the words.
    ///   - identity: what the system knows the open file by: its inode.
    package mutating func combine(_ entry: InventoryEntry, identity: UInt64) {
        self.combine(text: entry.name)
        self.combine(byte: entry.kind.rawValue)
        self.combine(byte: 0)
        self.combine(text: entry.address)
        var rest = identity
        var zeros = 8
        while rest != 0 {
            self.combine(byte: UInt8(truncatingIfNeeded: rest))
            rest >>= 8
            zeros -= 1
        }
        // A byte of zero only multiplies. Several at once do not wait for each other.
        var factor: UInt64 = 1
        for _ in 0..<zeros { factor = factor &* Self.prime }
        self.value = self.value &* factor
    }

    private mutating func combine(text: String) {
        // Byte by byte, `utf8` takes a small string apart for each anew.
        var text = text
        text.withUTF8 { for byte in $0 { self.combine(byte: byte) } }
        self.combine(byte: 0)  // "ab" + "c" is not "a" + "bc"
    }

    private mutating func combine(byte: UInt8) {
        self.value = (self.value ^ UInt64(byte)) &* Self.prime
    }
}
