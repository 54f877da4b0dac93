// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Nothing that a peer sends may stop this process, or make it hold more than one frame. The environment has
/// `FUZZ_FRAMES` for more frames than the usual ones, and `FUZZ_SEED` to see a failure again.
@Suite struct FrameDecoderFuzzTests {
    @Test func `no bytes make the decoder trap or grow without bound`() async {
        let frames = environment("FUZZ_FRAMES") ?? 200_000
        let seed = environment("FUZZ_SEED").map { UInt64($0) } ?? UInt64.random(in: 1...UInt64(Int32.max))
        print("FrameDecoder: \(frames) frames, FUZZ_SEED=\(seed)")
        var run = FuzzRun(seed: seed)
        for number in 0..<frames {
            if let failure = run.step() {
                Issue.record("FUZZ_SEED=\(seed), frame \(number): \(failure)")
                return
            }
            // Other tests want the thread as well.
            if number % 200 == 199 { await Task.yield() }
        }
        // Both ways through the decoder have been gone, else the fuzzer tests nothing.
        #expect(run.decoded > frames / 20, "FUZZ_SEED=\(seed)")
        #expect(run.refused > frames / 20, "FUZZ_SEED=\(seed)")
    }

    private func environment(_ name: String) -> Int? { getenv(name).flatMap { Int(String(cString: $0)) } }
}

private struct FuzzRun {
    private var random: SplitMix64
    private var decoder = FrameDecoder()
    private let originals: [[UInt8]] = Sample.all.map { $0.message.encoded() }
    private(set) var decoded = 0
    private(set) var refused = 0

    init(seed: UInt64) { self.random = SplitMix64(seed: seed) }

    /// Feeds one more frame, or what once was one.
    /// - Returns: which promise was broken.
    mutating func step() -> String? {
        let bytes = self.make()
        // Most frames come whole, some in two pieces.
        guard self.random.below(8) == 0, bytes.count > 1 else { return self.feed(bytes[...]) }
        let cut = self.random.below(bytes.count)
        return self.feed(bytes[..<cut]) ?? self.feed(bytes[cut...])
    }

    private mutating func feed(_ bytes: ArraySlice<UInt8>) -> String? {
        let before = self.decoder.pending
        self.decoder.append(bytes)
        guard self.decoder.pending == before + bytes.count else { return "pending is \(self.decoder.pending)" }
        do throws(WireError) {
            while let frame = try self.decoder.next() {
                self.decoded += 1
                if let failure = self.checkRoundTrip(frame) { return failure }
            }
            // What waits for more bytes is less than one frame.
            if self.decoder.pending >= FrameHeader.size + Int(FrameHeader.maximumLength) {
                return "\(self.decoder.pending) bytes are pending"
            }
            // Something that waits for very many bytes is not interesting for long.
            if self.decoder.pending > 4096 { self.decoder = FrameDecoder() }
        } catch {
            self.refused += 1
            defer { self.decoder = FrameDecoder() }
            return self.checkRemembers(error)
        }
        return nil
    }

    /// What was accepted is within the limits of what may be sent, and means the same when sent.
    private func checkRoundTrip(_ frame: FrameDecoder.Frame) -> String? {
        if case .unknown = frame.message { return nil }
        guard frame.descriptors == frame.message.descriptorCount else { return "\(frame.descriptors): \(frame)" }
        // Encoding is slow in a debug build, so not each time.
        guard self.decoded % 16 == 0 else { return nil }
        guard case .some(let again) = try? FrameDecoder.decode(frame.message.encoded()), again == frame else {
            return "not the same when sent: \(frame)"
        }
        return nil
    }

    private mutating func checkRemembers(_ error: WireError) -> String? {
        do throws(WireError) {
            _ = try self.decoder.next()
        } catch let again {
            return again == error ? nil : "\(error), then \(again)"
        }
        return "\(error) was forgotten"
    }

    // MARK: Making frames

    private mutating func make() -> [UInt8] {
        switch self.random.below(8) {
        case 0: self.noise(self.random.below(40))
        case 1: self.header() + self.noise(self.random.below(60))
        case 2: self.original()
        default: self.mutated()
        }
    }

    private mutating func original() -> [UInt8] { self.originals[self.random.below(self.originals.count)] }

    private mutating func noise(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: self.random.next() >> 40) }
    }

    /// A header that is likely to be accepted, before a payload that is not.
    private mutating func header() -> [UInt8] {
        let kind = UInt8(self.random.below(12))
        let descriptors = UInt8([0, 0, 1, 2, 253, 254][self.random.below(6)])
        return [
            0x54, 0x46, kind, UInt8(self.random.below(2)), descriptors, 0, 0, 0, UInt8(self.random.below(60)), 0, 0, 0,
        ]
    }

    private mutating func mutated() -> [UInt8] {
        var bytes = self.original()
        for _ in 0...self.random.below(3) {
            let place = self.random.below(bytes.count)
            switch self.random.below(7) {
            case 0: bytes[place] ^= 1 << UInt8(self.random.below(8))
            case 1: bytes[place] = [0, 1, 0x7f, 0x80, 0xff][self.random.below(5)]
            case 2: if bytes.count > 1 { bytes.remove(at: place) }
            case 3: bytes.insert(UInt8(self.random.below(256)), at: place)
            case 4: bytes.removeLast(bytes.count - place - 1)
            case 5: bytes += bytes[place...]
            // The length that the header claims, by a little.
            default: if bytes.count > 8 { bytes[8] &+= UInt8(truncatingIfNeeded: self.random.below(9) - 4) }
            }
        }
        return bytes
    }
}
