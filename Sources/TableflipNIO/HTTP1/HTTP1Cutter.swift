// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore

/// Finds where HTTP/1 messages end in what a connection has read (RFC 9112), so that a decoder is never given a byte of
/// the next one. A pure value.
///
/// It parses nothing that the decoder does not parse too, and believes the decoder: what kind of body follows is taken
/// from the head that the decoder made, and each end that is found here must be one there. If the two disagree the
/// connection becomes opaque: its bytes pass as they come, and it loses nothing but its right to move. So there are never
/// two verdicts on one request, which is what request smuggling is made of.
struct HTTP1Cutter: Hashable, Sendable {
    /// What the decoder's head says of the body.
    enum Body: Hashable, Sendable {
        case none
        case fixed(Int)
        case chunked
        /// Nothing that is certain.
        case unknown
    }

    private enum Phase: Hashable, Sendable {
        /// The decoder holds nothing.
        case boundary
        /// In a head that is too long to be held back.
        case head(LineScanner)
        case fixed(left: Int)
        case chunked(ChunkScanner)
        case opaque
    }

    /// A longer head goes to the decoder in pieces, which has limits of its own.
    private let longestHeldHead: Int

    /// - Parameter holdsHeads: false: whatever comes is used at once, in pieces that end where messages do.
    init(holdsHeads: Bool = true) { self.longestHeldHead = holdsHeads ? 16 * 1024 : 0 }

    private var phase = Phase.boundary
    /// So much of the head that is held back has been searched.
    private var searched = 0
    /// Where the phase's scanner will stand when the portion has been delivered.
    private var next: Phase?
    /// Of the present portion. More than two say no more than two: a connection whose bytes pass as they come has no
    /// portions that would end, and must not remember all its requests.
    private var heads: [Body] = []
    private var sawEnd = false

    /// The decoder has been given whole messages only.
    var isAtBoundary: Bool { self.phase == .boundary }
    var isOpaque: Bool { self.phase == .opaque }

    // MARK: What the decoder said

    mutating func decodedHead(_ body: Body) { if self.heads.count < 2 { self.heads.append(body) } }
    mutating func decodedEnd() { self.sawEnd = true }
    mutating func giveUp() { self.phase = .opaque }

    // MARK: Cutting

    mutating func portion(of unread: ByteBuffer) -> LivePortion {
        switch self.phase {
        case .opaque: return .bytes(unread.readableBytes)
        case .fixed(let left): return .bytes(min(left, unread.readableBytes))
        case .chunked(var scanner):
            let count = unread.withUnsafeReadableBytes { scanner.scan($0) }
            self.next = .chunked(scanner)
            return .bytes(count)
        case .head(var scanner):
            let count = unread.withUnsafeReadableBytes { scanner.scanToEmptyLine($0) }
            self.next = scanner.isDone ? .boundary : .head(scanner)
            return .bytes(count)
        case .boundary:
            // The decoder skips line ends here (RFC 9112, 2.2). They are no request that is on its way.
            let blanks = unread.readableBytesView.prefix(while: \.isLineEnd).count
            guard blanks == 0 else {
                self.next = .boundary
                return .bytes(blanks)
            }
            if let end = self.endOfHead(unread) {
                self.next = .boundary
                return .bytes(end)
            }
            guard unread.readableBytes > self.longestHeldHead else { return .incomplete }
            var scanner = LineScanner()
            let count = unread.withUnsafeReadableBytes { scanner.scanToEmptyLine($0) }
            self.next = .head(scanner)
            return .bytes(count)
        }
    }

    /// - Parameters:
    ///   - count: how many bytes the decoder was given.
    ///   - isBlank: whether they were line ends only, which a decoder skips between requests (RFC 9112, 2.2).
    mutating func delivered(_ count: Int, isBlank: @autoclosure () -> Bool) {
        let (next, heads, sawEnd) = (self.next, self.heads, self.sawEnd)
        self.next = nil
        self.heads = []
        self.sawEnd = false
        self.searched = 0
        switch self.phase {
        case .opaque: break
        case .boundary, .head:
            if case .head = next, heads.isEmpty, !sawEnd {
                self.phase = next ?? .opaque
            } else if heads.isEmpty, !sawEnd, self.phase == .boundary, isBlank() {
                self.phase = .boundary
            } else if heads.count == 1 {
                self.phase = Self.phase(after: heads[0], sawEnd: sawEnd)
            } else {
                self.phase = .opaque
            }
        case .fixed(let left):
            let isLast = count == left
            self.phase = isLast == sawEnd && heads.isEmpty ? (isLast ? .boundary : .fixed(left: left - count)) : .opaque
        case .chunked:
            guard case .chunked(let scanner) = next, heads.isEmpty, scanner.isDone == sawEnd, !scanner.isBroken else {
                self.phase = .opaque
                return
            }
            self.phase = scanner.isDone ? .boundary : .chunked(scanner)
        }
    }

    /// A head has been delivered with its empty line, and nothing behind it.
    private static func phase(after body: Body, sawEnd: Bool) -> Phase {
        switch (body, sawEnd) {
        case (.none, true), (.fixed(0), true): .boundary
        case (.fixed(let length), false) where length > 0: .fixed(left: length)
        case (.chunked, false): .chunked(ChunkScanner())
        default: .opaque
        }
    }

    /// The place behind the first empty line. No byte is looked at twice.
    private mutating func endOfHead(_ unread: ByteBuffer) -> Int? {
        var scanner = LineScanner()
        // The line before the one that was searched last may belong to an empty line that is whole now.
        let start = max(0, self.searched - 2)
        let count = unread.withUnsafeReadableBytes { bytes in
            scanner.scanToEmptyLine(UnsafeRawBufferPointer(rebasing: bytes[start...]))
        }
        // Where the end was found it must be found again: nobody has to use what was offered.
        guard !scanner.isDone else { return start + count }
        self.searched = unread.readableBytes
        return nil
    }
}

extension ByteBuffer {
    /// Nothing else is in it.
    var isLineEnds: Bool { self.readableBytesView.allSatisfy(\.isLineEnd) }
}

extension UInt8 {
    fileprivate var isLineEnd: Bool { self == 13 || self == 10 }
}

extension HTTP1Cutter.Body {
    /// - Parameters:
    ///   - lengths: the values of Content-Length.
    ///   - codings: the values of Transfer-Encoding.
    init(lengths: [String], codings: [String]) {
        switch (lengths.count, codings.count) {
        case (0, 0): self = .none
        case (1, 0): self = Self.length(lengths[0]).map { .fixed($0) } ?? .unknown
        case (0, 1) where codings[0].lowercased() == "chunked": self = .chunked
        // Both at once, lists and other codings are the decoder's to judge (RFC 9112, 6.1 and 6.3).
        default: self = .unknown
        }
    }

    /// Digits, and white space around them at the most; the integer type alone would read "+5" as well.
    private static func length(_ text: String) -> Int? {
        let digits = text.drop { $0 == " " || $0 == "\t" }.prefix { $0 != " " && $0 != "\t" }
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return Int(digits)
    }
}
#endif  // NIO
