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

@Suite(.timeLimit(.minutes(5))) struct ProcessIDTests {
    @Test(
        arguments: [
            (SIGHUP, "SIGHUP"), (SIGINT, "SIGINT"), (SIGQUIT, "SIGQUIT"), (SIGILL, "SIGILL"), (SIGTRAP, "SIGTRAP"),
            (SIGABRT, "SIGABRT"), (SIGBUS, "SIGBUS"), (SIGFPE, "SIGFPE"), (SIGKILL, "SIGKILL"), (SIGSEGV, "SIGSEGV"),
            (SIGPIPE, "SIGPIPE"), (SIGTERM, "SIGTERM"), (42, "signal 42"),
        ] as [(CInt, String)]
    )
    func `a signal is told by its name`(_ signal: CInt, _ name: String) {
        #expect(ProcessID.name(ofSignal: signal) == name)
    }

    @Test(arguments: [1, 0, -1, -4242] as [CInt])
    func `nothing is ever sent to more than one process, or to init`(_ process: CInt) async {
        // Signal 0: were it sent after all, it would do no harm.
        await #expect(processExitsWith: .failure) { [process] in ProcessID.signal(process, 0) }
    }

    @Test func `a signal to a process that is gone is no error`() async throws {
        let process = try Shell("exit 0").start(channel: 2)
        #expect(try await process.ending == .exited(0))
        ProcessID.signal(process.id, 0)
    }

    @Test func `a process ends itself without a word`() async {
        await #expect(processExitsWith: .exitCode(7)) {
            atexit { _exit(99) }
            ProcessID.exitNow(status: 7)
        }
    }
}
