// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
package import Glibc
#elseif canImport(Musl)
package import Musl
#else
package import Darwin
#endif

/// The descriptors that one call of poll(2) waits for, each with the name of who wants to know.
///
/// Inlinable, and without closures: each module makes a type of its own of it, and a successor polls for the first time
/// while its predecessor waits. Types that are made at run time take longer there than the call.
package struct Poll<Token> {
    @usableFromInline var tokens: [Token] = []
    @usableFromInline var entries: [pollfd] = []

    @inlinable package init() {}

    package static var readable: Int16 { Int16(POLLIN) }
    package static var writable: Int16 { Int16(POLLOUT) }

    @inlinable package mutating func add(_ token: Token, _ descriptor: CInt, _ events: Int16) {
        self.tokens.append(token)
        self.entries.append(pollfd(fd: descriptor, events: events, revents: 0))
    }

    /// Waits until something happens or the time is over (nil: as long as it takes).
    /// - Returns: who has something to look at. A signal ends the wait early, with nothing.
    @inlinable package mutating func wait(_ timeout: Duration?) -> [Token] {
        let milliseconds = timeout.map { CInt(clamping: Int64($0.inMilliseconds.rounded(.up))) } ?? -1
        let count = poll(&self.entries, nfds_t(self.entries.count), milliseconds)
        guard count > 0 else { return [] }
        var ready: [Token] = []
        for index in self.entries.indices where self.entries[index].revents != 0 { ready.append(self.tokens[index]) }
        return ready
    }
}

extension Poll where Token == Void {
    /// Waits until a descriptor polls readable, whatever signals come meanwhile.
    /// - Returns: whether it did in this time.
    package static func isReadable(_ descriptor: CInt, within time: Duration) -> Bool {
        self.isSeen(Self.readable, at: descriptor, within: time)
    }

    /// The same of other events; of none: the end.
    package static func isSeen(_ events: Int16, at descriptor: CInt, within time: Duration) -> Bool {
        let deadline = Moment.now + time
        while true {
            var poll = Self()
            poll.add((), descriptor, events)
            if !poll.wait(max(.zero, Moment.now.duration(to: deadline))).isEmpty { return true }
            if deadline <= Moment.now { return false }
        }
    }
}

extension Duration {
    @inlinable package var inMilliseconds: Double {
        Double(self.components.seconds) * 1e3 + Double(self.components.attoseconds) / 1e15
    }
}
