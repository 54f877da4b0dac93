// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite(.timeLimit(.minutes(5))) struct SpawnedProcessTests {
    @Test(arguments: Kernel.allCases, [0, 1, 3, 127, 255] as [CInt])
    func `an exit status is told`(_ kernel: Kernel, _ status: CInt) async throws {
        let process = try shell("exit \(status)", kernel).start(channel: 2)
        #expect(try await process.ending == .exited(status))
    }

    @Test(arguments: Kernel.allCases, [SIGKILL, SIGTERM, SIGHUP, SIGABRT])
    func `a signal that ended it is told`(_ kernel: Kernel, _ signal: CInt) async throws {
        let process = try shell("kill -\(signal) $$; sleep 60", kernel).start(channel: 2)
        #expect(try await process.ending == .signalled(signal))
    }

    @Test(arguments: Kernel.allCases)
    func `a process that lives is not collected`(_ kernel: Kernel) async throws {
        let pair = try ChannelSocket.pair()
        let ours = OwnedDescriptor(takingOwnershipOf: pair.ours)
        let theirs = OwnedDescriptor(takingOwnershipOf: pair.theirs)
        // It ends when it reads a line, or when the test is gone.
        let process = try shell("echo started >&3; read line <&3; exit 5", kernel).start(channel: theirs.borrowed)
        theirs.close()
        let number = ours.borrowed
        let hasStarted = try await onItsOwnThread { readable(number) }
        #expect(hasStarted)
        #expect(process.collect() == nil)
        #expect(!readable(process.watchDescriptor, within: .zero))
        #expect(send(ours.borrowed, "\n", 1, 0) == 1)
        #expect(try await process.ending == .exited(5))
    }

    @Test(arguments: Kernel.allCases)
    func `a process that was not collected keeps its id`(_ kernel: Kernel) async throws {
        // Where a thread waits for the child, it is reaped at once, and `collect` only reads what was written down.
        guard kernel.capabilities.hasProcessDescriptors else { return }
        let process = try shell("exit 0", kernel).start(channel: 2)
        let hasEnded = try await onItsOwnThread { readable(process.watchDescriptor) }
        #expect(hasEnded)
        #expect(kill(process.id, 0) == 0)
        #expect(process.collect() == .exited(0))
    }

    #if os(Linux)
    /// Perl is in every Debian; it asks for system calls by their numbers.
    @Test func `a process that a debugger holds on to has ended, and is reaped when it lets go`() async throws {
        let process = try shell("exec sleep 600", .current).start(channel: 2)
        defer { kill(process.id, SIGKILL) }
        #if arch(x86_64)
        let trace = 101
        #else
        let trace = 117
        #endif
        let (seize, refused) = (0x4206, 9)
        let pair = try ChannelSocket.pair()
        let ours = OwnedDescriptor(takingOwnershipOf: pair.ours)
        let theirs = OwnedDescriptor(takingOwnershipOf: pair.theirs)
        let debugger = try shell(
            """
            exec perl -e 'syscall(\(trace), \(seize), \(process.id), 0, 0) == 0 or exit \(refused);
            open(my $other, "+<&=", 3); syswrite($other, "x"); sysread($other, my $byte, 1);'
            """, .current
        ).start(channel: theirs.borrowed)
        theirs.close()
        let number = ours.borrowed
        #expect(try await onItsOwnThread { readable(number) })
        var byte: UInt8 = 0
        guard read(number, &byte, 1) == 1 else {
            // Not everybody may trace (ptrace(2), "Ptrace access mode checking").
            #expect(try await debugger.ending == .exited(CInt(refused)))
            return
        }
        kill(process.id, SIGKILL)
        let watch = process.watchDescriptor
        #expect(try await onItsOwnThread { readable(watch) })
        #expect(process.collect() == .unknown)
        #expect(kill(process.id, 0) == 0, "the debugger still looks at it")
        ours.close()
        #expect(try await debugger.ending == .exited(0))
        let id = process.id
        #expect(try await onItsOwnThread { eventually { kill(id, 0) < 0 && errno == ESRCH } })
    }
    #endif

    @Test(arguments: Kernel.allCases)
    func `a process that another part of the program reaped ended in an unknown way`(_ kernel: Kernel) async {
        // waitpid(-1) would take the children of other tests.
        await #expect(processExitsWith: .success) { [kernel] in
            let pair = try ChannelSocket.pair()
            let process = try shell("read line <&3; exit 5", kernel).start(channel: pair.theirs)
            if kernel == .portable {
                // The thread waits for this child by its id and cannot be overtaken for certain: so nobody is left.
                signal(SIGCHLD, SIG_IGN)
            }
            #expect(write(pair.ours, "\n", 1) == 1)
            if kernel == .current {
                var status: CInt = 0
                #expect(waitpid(-1, &status, 0) == process.id)
            }
            #expect(try await process.ending == .unknown)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `nothing is left of a process that was collected`(_ kernel: Kernel) async {
        await #expect(processExitsWith: .success) { [kernel] in
            let census = Census()
            do {
                let process = try shell("exit 0", kernel).start(channel: 2)
                #expect(try await process.ending == .exited(0))
            }
            #expect(waitpid(-1, nil, WNOHANG) == -1)
            #expect(census.isClean)
        }
    }

    @Test func `many at once are told apart`() async throws {
        for kernel in Kernel.allCases {
            let processes = try (0..<20).map { try shell("exit \($0)", kernel).start(channel: 2) }
            for (status, process) in processes.enumerated() {
                #expect(try await process.ending == .exited(CInt(status)))
            }
        }
    }

    // MARK: The way that fakes use

    @Test(
        arguments: [
            ([0, 0], .exited(0)), ([0, 255], .exited(255)), ([1, 9], .signalled(9)), ([], .unknown), ([0], .unknown),
        ] as [([UInt8], SpawnedProcess.Ending)]
    )
    func `an end is read from the descriptor that stands for a process`(
        _ bytes: [UInt8], _ ending: SpawnedProcess.Ending
    ) throws {
        var ends: [CInt] = [-1, -1]
        try check("pipe") { tf_pipe(&ends) }
        let writing = OwnedDescriptor(takingOwnershipOf: ends[1])
        let process = SpawnedProcess(id: 4242, watch: OwnedDescriptor(takingOwnershipOf: ends[0]))
        #expect(process.collect() == nil)
        try #require(write(writing.borrowed, bytes, bytes.count) == bytes.count)
        writing.close()
        #expect(readable(process.watchDescriptor))
        #expect(process.collect() == ending)
    }

    @Test(
        arguments: [
            (.exited(3), [0, 3]), (.exited(255), [0, 255]), (.signalled(9), [1, 9]), (.unknown, []),
        ] as [(SpawnedProcess.Ending, [UInt8])]
    )
    func `an end is written in two bytes`(_ ending: SpawnedProcess.Ending, _ bytes: [UInt8]) {
        #expect(ending.bytes == bytes)
    }
}

private func shell(_ script: String, _ kernel: Kernel) -> Shell {
    var shell = Shell(script)
    shell.capabilities = kernel.capabilities
    return shell
}
