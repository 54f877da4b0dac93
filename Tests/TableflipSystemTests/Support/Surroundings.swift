// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Dispatch
import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What the system under the tests can do. Both must work here.
enum Kernel: String, CaseIterable, Codable, Sendable, CustomTestStringConvertible {
    case current
    case portable

    var capabilities: Capabilities {
        switch self {
        case .current: .current
        case .portable: .portable
        }
    }

    var testDescription: String { self.rawValue }
}

/// How long a test waits for what must happen. Long, because the machine may be busy; nothing ever waits for all of it
/// unless something is wrong.
let patience = Duration.seconds(60)

/// A descriptor of which it can be seen whether any copy of it is open anywhere.
///
/// Descriptor numbers cannot be looked at for that: other tests run at the same time and get the same numbers.
final class Tracer {
    private let watching: OwnedDescriptor
    private var watched: OwnedDescriptor?

    init() throws {
        var ends: [CInt] = [-1, -1]
        try check("pipe") { tf_pipe(&ends) }
        self.watching = OwnedDescriptor(takingOwnershipOf: ends[0])
        self.watched = OwnedDescriptor(takingOwnershipOf: ends[1])
    }

    /// The copy that belongs to this value, borrowed; -1 once it is let go of.
    var descriptor: CInt {
        switch self.watched {
        case .some(let watched): watched.borrowed
        case .none: -1
        }
    }

    var inode: UInt64 { get throws { try DescriptorFacts(of: self.watching.borrowed).inode } }

    /// Closes the copy that belongs to this value.
    func letGo() { self.watched = nil }

    /// Hands the copy that belongs to this value to somebody else.
    func giveAway() throws -> OwnedDescriptor {
        guard let watched = self.watched.take() else { throw SystemCallError("giveAway", EBADF) }
        return watched
    }

    /// No copy is open any more. A program that another test is just starting may hold one for a moment.
    var isClosedEverywhere: Bool { readable(self.watching.borrowed) }

    var isOpenSomewhere: Bool { !readable(self.watching.borrowed, within: .zero) }
}

/// Waits until a descriptor is readable or hung up. A signal ends no wait.
func readable(_ descriptor: CInt, within limit: Duration = patience) -> Bool {
    Poll.isReadable(descriptor, within: limit)
}

/// Looks again and again, for what no event tells of.
func eventually(within limit: Duration = patience, _ condition: () -> Bool) -> Bool {
    let end = ContinuousClock.now + limit
    while !condition() {
        if ContinuousClock.now >= end { return false }
        sched_yield()
    }
    return true
}

/// Runs what waits on a thread of its own: the threads of Swift's pool are for what does not.
func onItsOwnThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue(label: "waiting").async { continuation.resume(with: Result { try body() }) }
    }
}

/// What is open in a process, to find out what stays open. Means something only in a process in which nothing else
/// happens: an exit test.
struct Census {
    private let before = Self.numbers()

    /// What is open by now that was not open before. Other parts of the process may be about to close something.
    var isClean: Bool { eventually { Self.numbers().subtracting(self.before).isEmpty } }

    /// What has no type is left out: timers and the like, which Dispatch opens when it pleases.
    private static func numbers() -> Set<CInt> {
        Set(
            (0..<4096).filter { number in
                var status = stat()
                return fstat(number, &status) == 0 && status.st_mode & S_IFMT != 0
            }
        )
    }
}

func isCloseOnExec(_ descriptor: CInt) -> Bool { fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0 }

func isNonBlocking(_ descriptor: CInt) -> Bool { fcntl(descriptor, F_GETFL) & O_NONBLOCK != 0 }
