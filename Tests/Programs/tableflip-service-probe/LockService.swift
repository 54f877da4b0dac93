// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
import ServiceLifecycle
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// Work that must run once: it holds a lock, and fails where another process has it.
struct LockService: Service {
    let path: String
    let generation: Int

    func run() async throws {
        let file = OwnedDescriptor(takingOwnershipOf: open(self.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600))
        let status = flock(file.borrowed, LOCK_EX | LOCK_NB)
        if status != 0 { throw SystemCallError("flock") }
        ServiceProbe.say(self.generation, "lock taken")
        try? await gracefulShutdown()
        ServiceProbe.say(self.generation, "lock released")
        file.close()
    }
}
#endif
