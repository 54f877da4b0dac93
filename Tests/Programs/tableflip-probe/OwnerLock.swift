// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import Tableflip
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// A lock that only the owner of the service holds. It is never waited for: where another process has it, there are two
/// owners, and that is an error.
final class OwnerLock: Sendable {
    private let path: String
    private let held: Mutex<OwnedDescriptor?> = Mutex(nil)

    init(path: String) { self.path = path }

    func follow(_ upgrader: Upgrader, failing: Bool) {
        let generation = upgrader.generation
        upgrader.addOwnershipHooks(
            becameOwner: {
                if failing { throw UpgradeError(.system, "the lock is not wanted") }
                if Faults.slowsHooks.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(200)) }
                try self.take()
                Probe.say(generation, "lock taken")
            },
            losingOwnership: {
                // Said first: else the next one's word could come before this one's.
                Probe.say(generation, "lock released")
                self.release()
            }
        )
    }

    private func take() throws(SystemCallError) {
        let file = OwnedDescriptor(takingOwnershipOf: open(self.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600))
        guard flock(file.borrowed, LOCK_EX | LOCK_NB) == 0 else {
            let failure = SystemCallError("flock")
            Probe.say(0, "lock refused")
            throw failure
        }
        let number = file.release()
        self.held.withLock { $0 = OwnedDescriptor(takingOwnershipOf: number) }
    }

    private func release() { self.held.withLock { $0 = nil } }
}
