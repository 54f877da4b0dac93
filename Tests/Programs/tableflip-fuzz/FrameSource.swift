// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// Makes frames, and what once were frames: the same ones for the same seed.
struct FrameSource {
    private var state: UInt64
    /// One of each kind, small.
    private let originals: [[UInt8]]
    private let large: [[UInt8]]
    /// Of headers that are likely to be accepted.
    private let kinds: Range<Int>

    /// Of the control socket.
    init(seed: UInt64, controlFixtures: [[UInt8]]) {
        self.state = seed
        self.originals = controlFixtures
        self.large = [
            ControlRequest.upgrade(.init(executable: String(repeating: "/ö", count: 1300))).frame.encoded()
        ]
        self.kinds = 0x40..<0x68
    }

    init(seed: UInt64, fixtures: [[UInt8]]) {
        self.state = seed
        self.originals = fixtures
        self.kinds = 0..<19
        let entries = (0..<FrameHeader.maximumDescriptors).map {
            InventoryEntry(name: "entry \($0)", kind: DescriptorKind.allCases[$0 % 5], address: "tcp://[::1]:\($0)")
        }
        self.large = [
            Message.offer(.init(stage: .initial, first: 0, total: 253, entries: entries)),
            .connections(
                .init(announced: 253, entries: entries.map { .init(listener: $0.name, unread: [1, 2], state: [3]) })
            ),
            .ready(
                .init(
                    digest: seed, claimed: (0..<9_001).map { $0 % 3 != 0 }, fresh: 1, probation: .timed,
                    probationMilliseconds: 5
                )
            ),
            .abort(.init(code: "code", message: String(repeating: "ö", count: 2000), cure: "")),
        ].map { $0.encoded() }
    }

    /// Vigna's SplitMix64.
    mutating func random() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    /// From 0 up to, but not including, `bound`.
    mutating func below(_ bound: Int) -> Int { Int(truncatingIfNeeded: (self.random() >> 33) % UInt64(bound)) }

    mutating func next() -> [UInt8] {
        switch self.below(16) {
        case 0: self.noise(self.below(40))
        case 1, 2: self.header() + self.noise(self.below(60))
        case 3, 4, 5: self.original()
        case 6: self.cutOff()
        default: self.mutated()
        }
    }

    /// A frame that a peer could have sent.
    mutating func original() -> [UInt8] {
        self.below(128) == 0
            ? self.large[self.below(self.large.count)] : self.originals[self.below(self.originals.count)]
    }

    private mutating func cutOff() -> [UInt8] {
        let whole = self.original()
        return Array(whole[..<self.below(whole.count)])
    }

    private mutating func noise(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        for _ in 0..<count { bytes.append(UInt8(truncatingIfNeeded: self.random() >> 40)) }
        return bytes
    }

    /// A header that is likely to be accepted, before a payload that is not.
    private mutating func header() -> [UInt8] {
        let kind = UInt8(self.kinds.lowerBound + self.below(self.kinds.count))
        let descriptors: UInt8 =
            switch self.below(6) {
            case 0, 1, 2: 0
            case 3: 1
            case 4: 253
            default: 254
            }
        let flags = UInt8(self.below(2))
        return [0x54, 0x46, kind, flags, descriptors, 0, 0, 0, UInt8(self.below(60)), 0, 0, 0]
    }

    private mutating func mutated() -> [UInt8] {
        var bytes = self.original()
        for _ in 0...self.below(3) {
            let place = self.below(bytes.count)
            switch self.below(8) {
            case 0: bytes[place] ^= 1 << UInt8(self.below(8))
            case 1: bytes[place] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)]
            case 2: if bytes.count > 1 { bytes.remove(at: place) }
            case 3: bytes.insert(UInt8(self.below(256)), at: place)
            case 4: bytes.removeLast(bytes.count - place - 1)
            case 5: if bytes.count < 8192 { bytes += bytes[place...] }
            // What the header claims: the length, the descriptors.
            case 6: if bytes.count > 8 { bytes[8] &+= UInt8(truncatingIfNeeded: self.below(9) - 4) }
            default: if bytes.count > 4 { bytes[4] &+= UInt8(truncatingIfNeeded: self.below(5) - 2) }
            }
        }
        return bytes
    }

    /// A fixture: bytes in hexadecimal; whatever follows a `#` is for people.
    static func read(_ path: String) -> [UInt8] {
        guard let file = fopen(path, "r") else { Fuzz.fail("\(path) cannot be read") }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var digits = ""
        var isComment = false
        while case let byte = getc(file), byte != EOF {
            let character = Character(UnicodeScalar(UInt8(truncatingIfNeeded: byte)))
            if character == "#" || character == "\n" { isComment = character == "#" }
            if isComment || !character.isHexDigit { continue }
            digits.append(character)
            guard digits.count == 2 else { continue }
            bytes.append(UInt8(digits, radix: 16) ?? 0)
            digits = ""
        }
        return bytes
    }
}
