// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

@Suite(.fewAtATime)
struct PIDFileTests {
    @Test(arguments: [Variant.plain, .portableReader])
    func `A PID file that cannot be written ends the upgrade before anything is given up`(
        _ variant: Variant
    ) async throws {
        try await TemporaryDirectory.with("run") { directory in
            let run = directory.appending(path: "run")
            let file = run.appending(path: "pid")
            try await Server.with(variant, ["--pid-file", file.path]) { server in
                try FileManager.default.removeItem(at: run)
                let before = server.facts(of: server.current)
                let mark = server.mark
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "failed" && outcome.code == "successorAborted")
                try await server.line(of: server.current, from: mark, "the path") {
                    $0.hasPrefix("words") && $0.contains(file.path)
                }
                #expect(server.log.history.first(server.current, from: mark) { $0.hasPrefix("event go") } == nil)
                try await server.answer(from: server.current)
                await server.expect(server.current, toBeAs: before)
                try FileManager.default.createDirectory(at: run, withIntermediateDirectories: true)
                server.pidFile = file
                try await server.replace()
            }
        }
    }

    /// What was there before the first process: `DEAD` is a process that has ended.
    @Test(arguments: ["", "DEAD\n", "DEAD"], [Variant.plain, .portableReader])
    func `A stale PID file is replaced by a first process, and the next upgrade works`(
        _ contents: String, _ variant: Variant
    ) async throws {
        let ended = try Ctl([], program: "true")
        #expect(try await ended.result().status == 0)
        let start = Server.Start(prepare: { directory in
            let text = contents.replacingOccurrences(of: "DEAD", with: "\(ended.process)")
            try Data(text.utf8).write(to: directory.appending(path: "pid"))
        })
        try await Server.with(variant, start) { server in
            #expect(try String(contentsOf: server.pidFile, encoding: .utf8) == "\(server.first)\n")
            try await server.replace()
            #expect(try String(contentsOf: server.pidFile, encoding: .utf8) == "\(server.current)\n")
        }
    }

    #if os(Linux)
    @Test(.enabled(if: Server.has("setpriv"), "it takes setpriv; apt-get install util-linux"))
    func `A directory in which the user may not write ends the upgrade before anything is given up`() async throws {
        try await TemporaryDirectory.with("run") { directory in
            let run = directory.appending(path: "run")
            let file = run.appending(path: "pid")
            let start = Server.Start(
                arguments: ["--pid-file", file.path].map { Array($0.utf8) }, launcher: Server.Start.withoutPrivilege
            )
            try await Server.with(.reader, start) { server in
                server.pidFile = file
                try await server.unharmed {
                    #expect(chmod(run.path, 0o555) == 0)
                    let mark = server.mark
                    let outcome = try await server.upgrade()
                    #expect(outcome.phase == "failed" && outcome.code == "successorAborted")
                    let words = try await server.line(of: server.current, from: mark, startingWith: "words ").words
                    #expect(
                        words.contains("pidFile") && words.contains(file.path) && words.contains("Permission denied"))
                    #expect(words.contains("Make its directory writable for the user"))
                    #expect(server.log.history.first(server.current, from: mark) { $0.hasPrefix("event go") } == nil)
                    #expect(chmod(run.path, 0o755) == 0)
                }
            }
        }
    }

    /// Root in a container may not, as a rule.
    private static let mayMount = Task {
        try await Self.succeeds(["unshare", "--mount", "--", "mount", "-t", "tmpfs", "none", "/tmp"])
    }

    private static let mayFreeze = Task {
        let script = """
            mount -t tmpfs none /mnt && mkdir /mnt/disk && truncate --size 8M /mnt/img && mkfs.ext4 -q /mnt/img \
            && mount -o loop /mnt/img /mnt/disk && fsfreeze --freeze /mnt/disk && fsfreeze --unfreeze /mnt/disk
            """
        return try await Self.succeeds(["unshare", "--mount", "--", "sh", "-c", script])
    }

    private static func succeeds(_ words: [String]) async throws -> Bool {
        try await Ctl(Array(words.dropFirst()), program: words[0]).result().status == 0
    }

    @Test(.enabled("it takes root, and the right to mount a file system") { try await Self.mayMount.value })
    func `A full disk ends the upgrade before anything is given up`() async throws {
        try await TemporaryDirectory.with("run") { directory in
            let run = directory.appending(path: "run")
            let start = Server.Start(
                arguments: ["--pid-file", run.path + "/pid"].map { Array($0.utf8) },
                launcher: Server.Start.withTinyFileSystem(at: run)
            )
            try await Server.with(.reader, start) { server in
                // As the service sees it.
                func inside(_ name: String) -> URL { URL(filePath: "/proc/\(server.current)/root\(run.path)/\(name)") }
                let before = server.facts(of: server.current)
                // One of two pages; the PID file has the other.
                try Data(count: 4096).write(to: inside("other"))
                let mark = server.mark
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "failed" && outcome.code == "successorAborted")
                let words = try await server.line(of: server.current, from: mark, startingWith: "words ").words
                #expect(words.contains("pidFile") && words.contains(run.path) && words.contains("No space left"))
                #expect(words.contains("Make room on its file system"))
                #expect(server.log.history.first(server.current, from: mark) { $0.hasPrefix("event go") } == nil)
                try await server.answer(from: server.current)
                await server.expect(server.current, toBeAs: before)
                #expect(
                    try FileManager.default.contentsOfDirectory(atPath: inside("").path).sorted() == ["other", "pid"])

                try FileManager.default.removeItem(at: inside("other"))
                let second = try await server.upgrade()
                try #require(second.phase == "committed")
                server.current = second.peer
                try await server.line(of: second.peer, startingWith: "event owner")
                try await server.answer(from: second.peer)
                #expect(try String(contentsOf: inside("pid"), encoding: .utf8) == "\(second.peer)\n")
            }
        }
    }

    private static let frozenDisk = ConditionTrait.enabled(
        "it takes root, a loop device, fsfreeze and mkfs.ext4 (util-linux, e2fsprogs)"
    ) { try await mayFreeze.value }

    @Test(Self.frozenDisk)
    func `A disk that does not answer while the PID file changes hands ends no successor`() async throws {
        try await self.whileFrozen(["--pid-file", "RUN/pid", "--probation", "2000"], seconds: 7) { server, disk, run in
            let outcome = try await server.outcome(of: server.current, from: 0)
            #expect(outcome.phase == "committed", "\(outcome)")
            #expect(try await disk.shell.result().output == "frozen\nthawed\n")
            server.current = outcome.peer
            try await server.line(of: outcome.peer, startingWith: "event owner")
            let named = "/proc/\(outcome.peer)/root\(run)/pid"
            #expect(try String(contentsOfFile: named, encoding: .utf8) == "\(outcome.peer)\n")
        }
    }

    @Test(Self.frozenDisk)
    func `A disk that does not answer while a successor is taken back holds up nobody`() async throws {
        try await self.whileFrozen(["--pid-file", "RUN/pid", "--control-socket", "CONTROL", "--probation", "600000"]) {
            server, disk, _ in
            let mark = server.mark
            #expect(try await Ctl.run(server, "rollback").status == 0)
            let outcome = try await server.outcome(of: server.current, from: mark)
            #expect(outcome.phase == "rolledBack" && outcome.code == "rolledBack", "\(outcome)")
            // It has given the service back in its own words, and was not killed for its silence.
            try await server.line(of: outcome.peer, startingWith: "event handedBack")
            try await disk.thaw()
        }
    }

    @Test(Self.frozenDisk)
    func `A disk that does not answer while sockets are brought to their options ends no successor`() async throws {
        // The next release wants another mode.
        let arguments = ["--control-socket", "RUN/control", "--control-mode-next", "602", "--probation", "2000"]
        try await self.whileFrozen(arguments) { server, disk, run in
            let outcome = try await server.outcome(of: server.current, from: 0)
            #expect(outcome.phase == "committed", "\(outcome)")
            // And it goes on as the owner: connections are handed over to it now.
            try await server.line(of: outcome.peer, startingWith: "event owner")
            try await disk.thaw()
            server.current = outcome.peer
            let mode = { @Sendable in
                try? FileManager.default.attributesOfItem(atPath: "/proc/\(outcome.peer)/root\(run)/control")
            }
            #expect(await server.eventually { mode()?[.posixPermissions] as? Int == 0o602 })
        }
    }

    /// A disk that a shell keeps frozen, and thaws whatever becomes of the test.
    private struct FrozenDisk {
        let shell: Ctl
        /// A byte here ends it.
        let fifo: String

        func thaw() async throws {
            // Not to wait for the shell to open its end.
            let descriptor = open(self.fifo, O_RDWR | O_CLOEXEC)
            defer { close(descriptor) }
            #expect(write(descriptor, "x", 1) == 1)
            #expect(try await self.shell.result().output == "frozen\nthawed\n")
        }
    }

    /// In the probation of the first upgrade, with a disk that is frozen for longer than a predecessor waits for a sign of
    /// life. RUN is a directory on it.
    private func whileFrozen(
        _ arguments: [String], seconds: Int = 60, _ body: (Server, FrozenDisk, String) async throws -> Void
    ) async throws {
        try await TemporaryDirectory.with("run") { directory in
            let run = directory.appending(path: "run")
            let start = Server.Start(
                arguments: arguments.map { Array($0.replacingOccurrences(of: "RUN", with: run.path).utf8) },
                launcher: Server.Start.withJournal(at: run)
            )
            try await Server.with(.reader, start) { server in
                let inside = "/proc/\(server.current)/root\(run.path)"
                server.requestUpgrade(of: server.current)
                try await server.line(startingWith: "event serving \(server.current)")
                // By a descriptor: the process that the path goes by may have ended.
                let script = """
                    exec 9<"$0"; disk=/proc/self/fd/9
                    fsfreeze -f $disk && echo frozen && timeout "$2" head -c 1 "$1" > /dev/null; fsfreeze -u $disk && echo thawed
                    """
                let fifo = directory.appending(path: "thaw").path
                guard mkfifo(fifo, 0o600) == 0 else { throw POSIXError(.EIO) }
                let shell = try Ctl(["-c", script, inside, fifo, "\(seconds)"], program: "/bin/sh")
                try await shell.output(containing: "frozen")
                try await body(server, FrozenDisk(shell: shell, fifo: fifo), run.path)
            }
        }
    }
    #endif

    /// The second says nothing else in other words.
    @Test(arguments: [[], ["--directory", "."]] as [[String]])
    func `A relative path counts from where the first process started`(_ option: [String]) async throws {
        try await TemporaryDirectory.with { directory in
            let arguments = option + ["--pid-file", "own.pid"]
            let start = Server.Start(arguments: arguments.map { Array($0.utf8) }, directory: directory)
            try await Server.with(.reader, start) { server in
                server.pidFile = directory.appending(path: "own.pid")
                #expect(server.namedProcess == server.first)
                try await server.replace()
                try await server.replace()
            }
        }
    }
}
