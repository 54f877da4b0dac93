// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import Testing

@testable import TableflipNIO

@Suite struct FrameCutterTests {
    private static func frame(_ opcode: UInt8, _ size: Int, isFinal: Bool = true) -> [UInt8] {
        var frame: [UInt8] = [opcode | (isFinal ? 0x80 : 0)]
        switch size {
        case 0..<126: frame.append(0x80 | UInt8(size))
        case 126..<65_536: frame += [0x80 | 126, UInt8(size >> 8), UInt8(size & 0xff)]
        default: frame += [0x80 | 127] + (0..<8).map { UInt8(size >> (56 - 8 * $0) & 0xff) }
        }
        return frame + [1, 2, 3, 4] + [UInt8](repeating: 0x81, count: size)
    }

    /// Gives a cutter the bytes in pieces.
    /// - Returns: behind how many bytes it was at rest between two messages.
    private func cut(_ bytes: [UInt8], pieces: Int) -> (rests: [Int], cutter: FrameCutter, unused: Int) {
        var cutter = FrameCutter()
        var waiting = ByteBuffer()
        var given = 0
        var rests: [Int] = []
        for start in stride(from: 0, to: bytes.count, by: pieces) {
            waiting.writeBytes(bytes[start..<min(start + pieces, bytes.count)])
            while waiting.readableBytes > 0, case .bytes(let count) = cutter.portion(of: waiting) {
                waiting.moveReaderIndex(forwardBy: count)
                given += count
                cutter.delivered(count)
                if cutter.isAtBoundary, !cutter.isInMessage { rests.append(given) }
            }
        }
        return (rests, cutter, waiting.readableBytes)
    }

    @Test(arguments: [1, 2, 3, 7, 1000, 70_000, 1_000_000])
    func `frames of every length are cut at their ends`(_ pieces: Int) {
        let sizes = [0, 1, 125, 126, 300, 65_535, 65_536, 200_000, 5]
        let frames = sizes.map { Self.frame(2, $0) }
        var ends: [Int] = []
        for frame in frames { ends.append((ends.last ?? 0) + frame.count) }
        let (rests, cutter, unused) = self.cut(frames.flatMap { $0 }, pieces: pieces)
        #expect(rests == ends)
        #expect(cutter.isAtBoundary && unused == 0 && !cutter.sawClose)
    }

    @Test func `between the frames of one message there is no rest, also behind a ping`() {
        let first = Self.frame(1, 10, isFinal: false)
        let ping = Self.frame(9, 4)
        let last = Self.frame(0, 10)
        let (rests, cutter, _) = self.cut(first + ping + last, pieces: 5)
        #expect(rests == [first.count + ping.count + last.count])
        #expect(!cutter.isInMessage)
        let (open, inside, _) = self.cut(first + ping, pieces: 5)
        #expect(open.isEmpty && inside.isInMessage)
    }

    @Test func `a close is noticed`() {
        #expect(self.cut(Self.frame(8, 2), pieces: 100).cutter.sawClose)
        #expect(!self.cut(Self.frame(10, 2), pieces: 100).cutter.sawClose)
    }

    @Test func `an incomplete frame waits here and not in the decoder`() {
        let frame = Self.frame(1, 200)
        for length in 1..<frame.count {
            let (_, cutter, unused) = self.cut(Array(frame[..<length]), pieces: length)
            #expect(unused == length && cutter.isAtBoundary)
        }
    }

    @Test func `a length that no memory holds does not overflow`() {
        let monster: [UInt8] = [0x82, 0xff] + [UInt8](repeating: 0xff, count: 8) + [1, 2, 3, 4, 5]
        #expect(self.cut(monster, pieces: 100).unused == 0)
    }
}
#endif  // NIO
