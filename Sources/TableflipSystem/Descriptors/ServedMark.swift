// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A mark on a connection that every process sees that holds it, and that outlives the one that made it: it has been
/// served since it was sent.
///
/// It is made of the longest time that a blocking send may take (SO_SNDTIMEO, socket(7)): so many seconds more. That time
/// is the socket's own, whichever descriptor is used. To a socket that does not block it means nothing, and to one that
/// does eleven days are no limit. A status flag of the open file would do as well, but none that fcntl(2) sets is without
/// effect on a socket: with O_ASYNC whoever was once named as its owner gets SIGIO, and with O_APPEND sendfile(2) fails.
package enum ServedMark {
    /// Also below what Linux takes for "without limit" where its ticks have 32 bits.
    private static let seconds = 1_000_000

    /// Whether somebody has made it. A socket that cannot be asked has none.
    package static func isSet(on connection: CInt) -> Bool { (self.time(of: connection)?.tv_sec ?? 0) >= self.seconds }

    /// Makes the mark. Where that fails, the connection has ended.
    package static func set(on connection: CInt) {
        guard var time = self.time(of: connection), time.tv_sec < self.seconds else { return }
        time.tv_sec += .init(self.seconds)
        self.setTime(time, of: connection)
    }

    /// Takes it away, and leaves what the application had set.
    package static func clear(on connection: CInt) {
        guard var time = self.time(of: connection), time.tv_sec >= self.seconds else { return }
        time.tv_sec -= .init(self.seconds)
        self.setTime(time, of: connection)
    }

    private static func time(of connection: CInt) -> timeval? {
        var time = timeval()
        var size = socklen_t(MemoryLayout<timeval>.size)
        return getsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &time, &size) == 0 ? time : nil
    }

    private static func setTime(_ time: timeval, of connection: CInt) {
        var time = time
        _ = setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    }
}
