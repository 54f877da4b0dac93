// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite(.timeLimit(.minutes(5))) struct SystemThreadTests {
    /// A blocked one would end the process without whoever says where it was (SWIFT_BACKTRACE, say).
    @Test func `a thread takes no signal of the application's, and those of its own faults`() async throws {
        let blocked: Set<CInt> = try await withCheckedThrowingContinuation { continuation in
            do {
                try SystemThread.start("tableflip-test") {
                    var mask = sigset_t()
                    pthread_sigmask(SIG_BLOCK, nil, &mask)
                    continuation.resume(returning: Set((1..<32).filter { sigismember(&mask, $0) == 1 }))
                }
            } catch {
                continuation.resume(throwing: error)
            }
        }
        let faults: Set = [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS]
        #expect(blocked == Set(1..<32).subtracting(faults).subtracting([SIGKILL, SIGSTOP]))
    }
}
