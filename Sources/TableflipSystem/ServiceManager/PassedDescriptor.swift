// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A descriptor that a service manager has passed to this process when it started it (sd_listen_fds(3)): a socket that
/// the manager opened, or something that the service once put into the manager's store.
package final class PassedDescriptor: Sendable {
    /// As the manager has it: of a socket unit `FileDescriptorName=`, which is the unit's own name by default.
    package let name: String
    /// What this library put into the store; nil: it was not this library, or is no such thing.
    package let stored: StoreName?
    private let held: Mutex<OwnedDescriptor?>

    package init(name: String, descriptor: consuming OwnedDescriptor) {
        self.name = name
        self.stored = StoreName(name)
        self.held = Mutex(descriptor)
    }

    /// Once; nil from then on.
    package func take() -> OwnedDescriptor? { self.held.withLock { $0.take() } }

    /// Lends the number; nil once it has been taken.
    package func withNumber<Result: Sendable>(_ body: (CInt) -> Result) -> Result? {
        self.held.withLock { held in
            switch held {
            case .some(let open): body(open.borrowed)
            case .none: nil
            }
        }
    }

    private static let first: CInt = 3
    private static let variables = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID"]

    /// Takes everything that was passed to this process, in order, and removes the variables that say so: successors get
    /// the descriptors from their predecessor. Called once, at the start of a first process.
    package static func takeAll() -> [PassedDescriptor] {
        let values = self.variables.map { ProcessEnvironment.value(of: $0) }
        for name in self.variables { unsetenv(name) }
        // Variables that were meant for another process, of which this one inherited them.
        guard values[2] == "\(ProcessID.current)", let count = values[0].flatMap({ CInt($0) }), count > 0 else {
            return []
        }
        let names = values[1].map { $0.split(separator: ":", omittingEmptySubsequences: false).map(String.init) } ?? []
        var passed: [PassedDescriptor] = []
        for offset in 0..<Int(count) {
            let number = self.first + CInt(offset)
            // What was passed came through execve(2), so it is open and not close-on-exec. Anything else was not passed, and
            // must not become ours by being closed: the count is wrong, and what is here is the program's own.
            guard fcntl(number, F_GETFD) == 0, tf_set_close_on_exec(number, true) == 0 else { break }
            passed.append(
                PassedDescriptor(
                    name: offset < names.count ? names[offset] : "unknown",
                    descriptor: OwnedDescriptor(takingOwnershipOf: number)
                )
            )
        }
        return passed
    }
}
