// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The descriptors that one call of poll(2) waits for, each with the name of who wants to know.
package struct Poll<Token> {
    private var tokens: [Token] = []
    private var entries: [pollfd] = []

    package init() {}

    package static var readable: Int16 { Int16(POLLIN) }

    package mutating func add(_ token: Token, _ descriptor: CInt, _ events: Int16) {
        self.tokens.append(token)
        self.entries.append(pollfd(fd: descriptor, events: events, revents: 0))
    }

    /// Waits until something happens or the time is over (nil: as long as it takes).
    /// - Returns: who has something to look at. A signal ends the wait early, with nothing.
    package mutating func wait(_ timeout: Duration?) -> [Token] {
        let milliseconds = timeout.map { CInt(clamping: Int64($0.inMilliseconds.rounded(.up))) } ?? -1
        let count = poll(&self.entries, nfds_t(self.entries.count), milliseconds)
        guard count > 0 else { return [] }
        return zip(self.tokens, self.entries).filter { $0.1.revents != 0 }.map(\.0)
    }
}

extension Duration {
    package var inMilliseconds: Double {
        Double(self.components.seconds) * 1e3 + Double(self.components.attoseconds) / 1e15
    }
}
