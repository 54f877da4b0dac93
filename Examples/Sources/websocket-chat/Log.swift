// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Tableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What was said, a line each, in a file without a name that every generation has.
///
/// During an upgrade some clients are still with the old process and others with the new one. What one says must reach
/// all, in one order. So nobody sends to others: each process appends to the log, and each connection is sent the log
/// from where it stands. That place is all that moves with a connection.
struct Log: Sendable {
    private static let lineFeed = UInt8(ascii: "\n")

    private let file: CInt

    init(of upgrader: Upgrader) throws {
        let carried = try upgrader.carry(.file, name: "log") { () throws(UpgradeError) in
            var path = Array("/tmp/websocket-chat-XXXXXX".utf8CString)
            let file = mkstemp(&path)
            guard file >= 0 else { throw UpgradeError(.system, "mkstemp: \(String(cString: strerror(errno)))") }
            unlink(path)
            // Lines of two processes do not mix: with this flag, finding the end and writing there is one step (write(2)).
            _ = fcntl(file, F_SETFL, O_APPEND)
            return OwnedDescriptor(takingOwnershipOf: file)
        }
        // Kept until the process ends.
        self.file = try carried.duplicate().release()
    }

    /// Where the next line will begin, or one that another process is about to write.
    var end: Int {
        var status = stat()
        return fstat(self.file, &status) == 0 ? Int(status.st_size) : 0
    }

    func append(_ line: String) {
        // By bytes: to Swift, CR LF is one character.
        let bytes = line.utf8.map { $0 == Self.lineFeed ? UInt8(ascii: " ") : $0 } + [Self.lineFeed]
        _ = write(self.file, bytes, bytes.count)
    }

    /// The whole lines from `place` on.
    func lines(from place: Int) -> [String] {
        let end = self.end
        guard end > place else { return [] }
        var bytes = [UInt8](repeating: 0, count: end - place)
        let count = pread(self.file, &bytes, bytes.count, off_t(place))
        guard count > 0, let last = bytes[..<count].lastIndex(of: Self.lineFeed) else { return [] }
        return bytes[..<last].split(separator: Self.lineFeed, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
    }
}
