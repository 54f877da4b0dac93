// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import TableflipCore
import Testing

/// `tableflipctl` as a new user would try it: what goes well and what goes wrong, and who is told what.
@Suite(.fewAtATime)
struct CtlTests {
    static let variants = [Variant.reader, .portableReader, .plain]

    @Test(arguments: Self.variants)
    func `An upgrade is shown phase by phase up to the end of the old process`(_ variant: Variant) async throws {
        try await Server.controlled(variant) { server in
            let result = try await Ctl.run(server, "upgrade")
            #expect(result.status == 0, "\(result)")
            let words = [
                "asked", "spawned", "handed over", "ready", "paused", "committed", "new owner", "old process gone",
            ]
            let lines = result.output.split(separator: "\n")
            for (word, line) in zip(words, lines) { #expect(line.contains("s  \(word) "), "\(line)") }
            let successor = try await server.successor(of: server.first)
            #expect(lines.last?.hasPrefix("upgraded in ") == true)
            #expect(lines.last?.hasSuffix(": PID \(successor) serves, generation 2") == true)
            #expect(!result.output.contains("\u{1b}"), "no colour in a pipe")
            try await server.follow(to: successor, from: server.first)
            #expect(server.errorText.contains("control: upgrade"))
        }
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var behaviour = ""
        var arguments: [String] = []
        var words: [String]

        static let all = [
            Bad(testDescription: "crashing", behaviour: "exit 3", words: ["exited with status 3", "run it by hand"]),
            Bad(testDescription: "killed", behaviour: "late-kill 9", words: ["ended by SIGKILL"]),
            Bad(
                testDescription: "hanging", behaviour: "late-hang", arguments: ["--timeout", "700ms"],
                words: ["was not ready within"]),
            Bad(
                testDescription: "missing", arguments: ["--executable", "/nowhere/hello"],
                words: ["/nowhere/hello cannot be started", "Put the new version there"]),
            Bad(
                testDescription: "not in PATH", arguments: ["--executable", "tableflip-nobody"],
                words: ["no program \"tableflip-nobody\" is in PATH"]),
            Bad(
                testDescription: "for another machine", arguments: ["--executable", "FOREIGN"],
                words: ["FOREIGN is no program for this machine"]),
            Bad(
                testDescription: "no environment file", arguments: ["--env-file", "/nowhere/env"],
                words: ["the environment file /nowhere/env cannot be read", "Create it"]),
            // The same in its own words, wherever it fails.
            Bad(
                testDescription: "with a configuration that cannot be", behaviour: "misconfigure",
                words: ["invalidConfiguration", "drainTimeout is 0.0 seconds", "Give it a time above zero"]),
            Bad(
                testDescription: "with a control socket that cannot be bound", behaviour: "control /nowhere/control",
                words: ["the successor gave up", "unix:/nowhere/control"]),
            Bad(
                testDescription: "whose application gives up", behaviour: "give-up no database",
                words: ["the application cannot serve: no database"]),
        ]
    }

    @Test(arguments: Bad.all)
    func `A bad program ends in its own words, and a client under load sees nothing`(_ bad: Bad) async throws {
        try await Server.controlled { server in
            try await server.replace()
            let foreign = server.directory.appending(path: "FOREIGN")
            try Self.writeForeignProgram(to: foreign)
            try await server.unharmed {
                try server.misbehave(bad.behaviour)
                let arguments = bad.arguments.map { $0 == "FOREIGN" ? foreign.path : $0 }
                let mark = server.mark
                let result = try await Ctl(
                    ["upgrade"] + arguments, environment: ["TABLEFLIP_CONTROL_SOCKET": server.control.path]
                ).result()
                #expect(result.status == 1, "\(result)")
                for words in bad.words + ["The old process serves on."] {
                    #expect(result.errors.contains(words), "\(words) in \(result)")
                }
                // The command may know before the process has written it down.
                #expect(try await server.outcome(of: server.current, from: mark).phase == "failed")
                #expect(Self.failures(in: server.errorText) == 1, "\(server.errorText)")
            }
        }
    }

    /// Whoever asked for them.
    private static func failures(in log: String) -> Int { log.components(separatedBy: "upgrade failed: ").count - 1 }

    @Test func `An upgrade that a signal asks for and that fails is in the log once`() async throws {
        try await Server.controlled { server in
            try await server.unharmed {
                try server.misbehave("exit 3")
                let mark = server.mark
                server.requestUpgrade(of: server.current)
                #expect(try await server.outcome(of: server.current, from: mark).phase == "failed")
                #expect(Self.failures(in: server.errorText) == 1, "\(server.errorText)")
            }
        }
    }

    @Test func `Another program is used this once, and what an environment file set stays`() async throws {
        try await Server.controlled { server in
            let program = server.directory.appending(path: "next")
            try FileManager.default.createSymbolicLink(at: program, withDestinationURL: Server.probe)
            let file = server.directory.appending(path: "next.env")
            try Data("FROM_FILE=1\n".utf8).write(to: file)
            let first = ProcessFacts.text("/proc/\(server.first)/comm")
            let arguments = ProcessFacts.arguments(of: server.first)
            let upgrade = try Ctl(server, "upgrade", "--executable", program.path, "--env-file", file.path)
            let result = try await upgrade.result()
            #expect(result.status == 0, "\(result)")
            let successor = try await server.successor(of: server.first)
            try await server.follow(to: successor, from: server.first)
            let environment = ProcessFacts.environment(of: successor)
            #expect(server.errorText.contains("path=\(program.path)"), "\(server.errorText)")
            #if os(Linux)
            #expect(environment.contains(Data("FROM_FILE=1".utf8)))
            // By the name of the file that was executed.
            #expect(ProcessFacts.text("/proc/\(successor)/comm") == "next\n")
            #endif
            // Who asked for what, by the kernel's word.
            let line = try #require(server.errorText.split(separator: "\n").first { $0.contains("control: upgrade") })
            for words in ["uid=\(getuid())", "pid=\(upgrade.process)", "executable=\(program.path)"] {
                #expect(line.contains(words), "\(words) in \(line)")
            }

            // The next upgrade says nothing: its program is what argv[0] names, its environment is inherited.
            try FileManager.default.removeItem(at: file)
            try FileManager.default.removeItem(at: program)
            #expect(try await Ctl.run(server, "upgrade").status == 0)
            let third = try await server.successor(of: successor)
            try await server.follow(to: third, from: successor)
            #expect(ProcessFacts.text("/proc/\(third)/comm") == first)
            #expect(ProcessFacts.arguments(of: third) == arguments)
            #expect(ProcessFacts.environment(of: third) == environment)
        }
    }

    @Test func `The service keeps to the time-out when whoever asked has gone`() async throws {
        try await Server.controlled { server in
            try await server.replace()
            try await server.unharmed {
                try server.misbehave("late-hang")
                let mark = server.mark
                let upgrade = try Ctl(server, "upgrade", "--timeout", "2s")
                try await upgrade.output(containing: "spawned")
                kill(upgrade.process, SIGKILL)
                _ = try await upgrade.result()
                let outcome = try await server.outcome(of: server.current, from: mark)
                #expect(outcome.phase == "failed" && outcome.code == "successorTimedOut", "\(outcome)")
            }
        }
    }

    /// The header of this program, for a machine that this one is not.
    private static func writeForeignProgram(to url: URL) throws {
        var bytes = Array(try Data(contentsOf: Server.probe).prefix(4096))
        bytes[18] = bytes[18] == 183 ? 62 : 183
        bytes[19] = 0
        try Command.writeProgram(at: url.path) {
            try Data(bytes).write(to: url)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: url.path)
        }
    }

    @Test func `The second of two upgrades is told which one runs, and an order ends the first`() async throws {
        try await Server.controlled { server in
            try await server.replace()
            try await server.unharmed {
                try server.misbehave("late-hang")
                let first = try Ctl(server, "upgrade", "--timeout", "50s")
                try await first.output(containing: "handed over")
                let successor = try await server.successor(of: server.current)
                let second = try await Ctl.run(server, "upgrade", "--json")
                #expect(second.status == 2)
                let error = try #require(second.objects.last)
                #expect(error["code"] as? String == "upgradeRunning" && error["exit"] as? Int == 2)
                let message = try #require(error["message"] as? String)
                #expect(
                    message.contains("to PID \(successor), at handedOver") && message.contains(" s ago"), "\(message)")
                let status = try await Ctl.run(server, "status")
                #expect(status.output.contains("new process  PID \(successor)"), "\(status)")
                let rollback = try await Ctl.run(server, "rollback")
                #expect(rollback.status == 0, "\(rollback)")
                let result = try await first.result()
                #expect(result.status == 3 && result.errors.contains("the operator took the upgrade back"), "\(result)")
                #expect(!result.output.contains("refused"), "that was the other one: \(result)")
                // In a pipe nothing is cut.
                #expect(result.output.contains("the operator took the upgrade back\n"), "\(result)")
            }
        }
    }

    @Test func `What somebody else is refused is not among the events of one's own upgrade`() async throws {
        try await Server.controlled { server in
            let upgrade = try Ctl(server, "upgrade", "--json", "--probation", "50s")
            try await upgrade.output(containing: "\"probation\"")
            #expect(try await Ctl.run(server, "upgrade", "--json").status == 2)
            #expect(try await Ctl.run(server, "commit").status == 0)
            let result = try await upgrade.result()
            let phases = result.objects.compactMap { $0["phase"] as? String }
            #expect(result.status == 0 && phases.contains("committed"), "\(result)")
            #expect(!phases.contains("refused"), "\(result)")
            try await server.follow(to: try await server.successor(of: server.first), from: server.first)
        }
    }

    // MARK: Probation

    @Test func `A probation ends by commit`() async throws {
        try await Server.controlled { server in
            let upgrade = try Ctl(server, "upgrade", "--probation", "50s")
            try await upgrade.output(containing: "probation")
            let commit = try await Ctl.run(server, "commit")
            #expect(commit.status == 0, "\(commit)")
            #expect(try await upgrade.result().status == 0)
            try await server.follow(to: try await server.successor(of: server.first), from: server.first)
        }
    }

    @Test func `A probation ends by rollback`() async throws {
        try await Server.controlled { server in
            try await server.replace()
            try await server.unharmed {
                let upgrade = try Ctl(server, "upgrade", "--probation", "50s")
                try await upgrade.output(containing: "probation")
                let rollback = try await Ctl.run(server, "rollback")
                #expect(rollback.status == 0, "\(rollback)")
                #expect(try await upgrade.result().status == 3)
            }
        }
    }

    @Test func `A new process that dies in its probation is a rollback`() async throws {
        try await Server.controlled { server in
            try await server.replace()
            try await server.unharmed {
                try server.misbehave("kill-after-ready")
                server.client?.hold()
                let result = try await Ctl.run(server, "upgrade", "--probation", "50s")
                server.client?.release()
                #expect(result.status == 3 && result.errors.contains("ended by SIGKILL"), "\(result)")
            }
        }
    }

    /// The client waits for the end of the old process, which drains until it is let go.
    @Test func `A new process that dies when it owns the service is not said to serve`() async throws {
        try await Server.controlledAlone(["--linger", "FIFO", "--drain-timeout", "300000"]) { server in
            let upgrade = try Ctl(server, "upgrade")
            try await upgrade.output(containing: "new owner")
            let successor = try await server.successor(of: server.first)
            kill(successor, SIGKILL)
            let result = try await upgrade.result()
            #expect(result.status == 8, "\(result)")
            for words in ["the new process (PID \(successor)) had taken the service over", "nobody answers at "] {
                #expect(result.errors.contains(words), "\(words) in \(result)")
            }
            try server.letGo("FIFO")
            try await server.everythingToEnd()
        }
    }

    @Test func `Without an upgrade there is nothing to commit or take back`() async throws {
        try await Server.controlled { server in
            for command in ["commit", "rollback"] {
                let result = try await Ctl.run(server, command)
                #expect(result.status == 4, "\(result)")
            }
            try await server.replace()
        }
    }

    // MARK: Status, check, stop

    @Test func `Status tells who serves, on what, and how the last upgrades went`() async throws {
        try await Server.controlled { server in
            try await server.replace()
            try server.misbehave("exit 3")
            #expect(try await Ctl.run(server, "upgrade").status == 1)
            try server.misbehave("")
            try await server.replace()
            let result = try await Ctl.run(server, "status", "--json")
            let status = try #require(result.objects.first, "\(result)")
            #expect(status["generation"] as? Int == 3 && status["pid"] as? Int == Int(server.current))
            #expect(status["state"] as? String == "serving" && status["version"] as? String == "probe 1")
            let listeners = try #require(status["listeners"] as? [[String: Any]])
            #expect(Set(listeners.compactMap { $0["address"] as? String }).contains("unix:\(server.control.path)"))
            #expect(listeners.contains { $0["port"] as? Int == Int(server.port) && $0["inherited"] as? Bool == true })
            let upgrades = try #require(status["upgrades"] as? [[String: Any]])
            #expect(upgrades.map { $0["succeeded"] as? Bool } == [true, false, true])
            #expect(upgrades.map { $0["generation"] as? Int } == [1, 2, 2])
            let failure = upgrades[1]["error"] as? [String: Any]
            #expect(failure?["code"] as? String == "successorExited")
            let words = try await Ctl.run(server, "status").output
            #expect(words.contains("PID \(server.current), generation 3") && words.contains("failed: successorExited"))
        }
    }

    @Test func `A dry run finds what is wrong, and starts nothing`() async throws {
        try await Server.controlled { server in
            let good = try await Ctl.run(server, "check")
            #expect(good.status == 0, "\(good)")
            for words in [
                "program ", "tableflip-probe", "arguments", "PID file", "inherited    listener tcp://127.0.0.1:0",
            ] {
                #expect(good.output.contains(words), "\(good)")
            }
            let foreign = server.directory.appending(path: "FOREIGN")
            try Self.writeForeignProgram(to: foreign)
            let bad = try await Ctl.run(server, "check", "--executable", foreign.path)
            #expect(bad.status == 1 && bad.output.contains("FAIL  format"), "\(bad)")
            let missing = try await Ctl.run(server, "check", "--executable", "/nowhere/hello")
            #expect(missing.status == 1 && missing.errors.contains("an upgrade would fail: program"), "\(missing)")
            #expect(server.processes == [server.first])
        }
    }

    @Test func `A dry run tells of a socket whose file is gone, which fails no upgrade`() async throws {
        try await TemporaryDirectory.with { directory in
            let path = directory.path + "/extra"
            try await Server.controlledAlone(["--listen", "unix:\(path)"]) { server in
                try FileManager.default.removeItem(atPath: path)
                let result = try await Ctl.run(server, "check")
                #expect(result.status == 0 && result.output.contains("the file of unix:\(path) is gone"), "\(result)")
                let other = try LocalListener(at: path)
                defer { other.close() }
                let taken = try await Ctl.run(server, "check")
                let words = "\(path) is not the file of unix:\(path) any more"
                #expect(taken.status == 0 && taken.output.contains(words), "\(taken)")
                #expect(try await Ctl.run(server, "upgrade").status == 0)
            }
        }
    }

    @Test func `A dry run says of a directory what an upgrade fails with`() async throws {
        try await TemporaryDirectory.with("here") { directory in
            let here = directory.appending(path: "here")
            let start = Server.Start(
                arguments: ["--control-socket", "CONTROL"].map { Array($0.utf8) }, directory: here)
            try await Server.withProcess(.reader, start) { server in
                try await server.line(startingWith: "serving")
                try FileManager.default.removeItem(at: here)
                try Data().write(to: here)
                let words = "the directory to start in, \(here.path), is no directory"
                let check = try await Ctl.run(server, "check")
                #expect(check.status == 1 && check.output.contains("FAIL  directory    \(words)"), "\(check)")
                let upgrade = try await Ctl.run(server, "upgrade")
                #expect(upgrade.status == 1 && upgrade.errors.contains(words), "\(upgrade)")
            }
        }
    }

    /// Ready, and sent home: the old process, its paths and its history are as before.
    @Test func `A rehearsal starts the new program, and tells what it would claim, leave and bind`() async throws {
        try await TemporaryDirectory.with { directory in
            let (wanted, path) = (directory.appending(path: "wanted"), directory.path + "/extra")
            let arguments = ["--listen-if", wanted.path, "unix:\(path)", "--quick", "30000"]
            try await Server.controlled(.reader, arguments) { server in
                func rehearse(_ more: String...) async throws -> Ctl.Result {
                    try await Ctl(
                        ["check", "--start"] + more, environment: ["TABLEFLIP_CONTROL_SOCKET": server.control.path]
                    ).result()
                }
                try await server.unharmed {
                    let plain = try await rehearse()
                    #expect(plain.status == 0 && plain.output.contains("ok    start        ready after"), "\(plain)")
                    #expect(plain.output.contains("inherited    listener tcp://127.0.0.1:0"), "\(plain)")
                    #expect(!plain.output.contains("unclaimed") && !plain.output.contains("new "), "\(plain)")
                    #expect(server.errorText.contains("it was a rehearsal"), "\(server.errorText)")
                    let complaints = server.errorText.split(separator: "\n").filter { $0.contains(" error probe") }
                    #expect(complaints == [], "all went well")
                    try Data().write(to: wanted)
                    let more = try await rehearse("--json")
                    let new = more.objects.filter { $0["name"] as? String == "new" }
                    #expect(more.status == 0, "\(more)")
                    #expect(new.map { $0["message"] as? String } == ["listener unix:\(path)"], "\(more)")
                    #expect(await server.eventually { !FileManager.default.fileExists(atPath: path) })
                    try server.misbehave("exit 3")
                    let crashing = try await rehearse()
                    #expect(crashing.status == 1 && crashing.output.contains("FAIL  start"), "\(crashing)")
                    #expect(crashing.errors.contains("exited with status 3"), "\(crashing)")
                    try server.misbehave("late-hang")
                    let hanging = try await rehearse("--timeout", "500ms")
                    #expect(hanging.status == 1 && hanging.errors.contains("was not ready within"), "\(hanging)")
                    try server.misbehave("")
                    #expect(Self.failures(in: server.errorText) == 0, "no upgrade: \(server.errorText)")
                }
                // It has the path now; the next one would leave it.
                try FileManager.default.removeItem(at: wanted)
                try await server.unharmed {
                    let less = try await rehearse()
                    #expect(less.status == 0 && less.output.contains("unclaimed    listener unix:\(path)"), "\(less)")
                    #expect(FileManager.default.fileExists(atPath: path))
                    let status = try await Ctl.run(server, "status", "--json")
                    let upgrades = status.objects.first?["upgrades"] as? [[String: Any]]
                    #expect(upgrades?.count == 1, "a rehearsal is no upgrade: \(status)")
                }
            }
        }
    }

    @Test func `Stop waits until the process has gone`() async throws {
        try await Server.controlledAlone { server in
            let result = try await Ctl.run(server, "stop")
            #expect(result.status == 0 && result.output == "stopped\n", "\(result)")
            try await server.everythingToEnd()
            #expect(!FileManager.default.fileExists(atPath: server.control.path))
        }
    }

    @Test func `An upgrade that a stop ends is told so`() async throws {
        try await Server.controlledAlone { server in
            try server.misbehave("late-hang")
            let watch = try Ctl(server, "watch")
            try await watch.output(containing: "watching")
            let upgrade = try Ctl(server, "upgrade", "--timeout", "50s")
            try await upgrade.output(containing: "handed over")
            #expect(try await Ctl.run(server, "stop").status == 0)
            let result = try await upgrade.result()
            #expect(result.status == 8 && result.errors.contains("stop"), "\(result)")
            // The service has said that it stops, and then that the upgrade failed: its end is no failure.
            let seen = try await watch.result()
            #expect(seen.status == 0 && seen.output.contains("stopping") && seen.output.contains("failed"), "\(seen)")
            try await server.everythingToEnd()
        }
    }

    @Test func `A rollback that a stop overtakes is not said to have left the old process in service`() async throws {
        try await Server.controlledAlone(["--quick", "30000"]) { server in
            try server.misbehave("late-hang")
            let upgrade = try Ctl(server, "upgrade", "--timeout", "50s")
            try await upgrade.output(containing: "handed over")
            // Then it is waited for, until the stop comes.
            kill(try await server.successor(of: server.first), SIGSTOP)
            let rollback = try Ctl(server, "rollback", "--json")
            let log = server.directory.appending(path: "errors")
            let isTaken = await server.eventually {
                (try? String(contentsOf: log, encoding: .utf8))?.contains("the upgrade is taken back") == true
            }
            #expect(isTaken)
            #expect(try await Ctl.run(server, "stop").status == 0)
            let result = try await rollback.result()
            #expect(result.status == 8 && result.objects.last?["code"] as? String == "stopping", "\(result)")
            #expect(try await upgrade.result().status == 8)
            try await server.everythingToEnd()
        }
    }

    @Test func `An upgrade that waits for the process before can be taken back`() async throws {
        let arguments = ["--linger", "FIFO", "--overlap-waits", "--drain-timeout", "300000"]
        try await Server.controlled(.reader, arguments) { server in
            #expect(try await Ctl.run(server, "upgrade", "--no-drain").status == 0)
            let new = try await server.successor(of: server.first)
            let upgrade = try Ctl(server, "upgrade")
            try await upgrade.output(containing: "waiting")
            #expect(try await Ctl.run(server, "rollback").status == 0)
            let result = try await upgrade.result()
            #expect(result.status == 3 && result.errors.contains("the operator took the upgrade back"), "\(result)")
            #expect(try await Ctl.run(server, "rollback").status == 4)
            try server.letGo("FIFO")
            try await server.follow(to: new, from: server.first)
            #expect(ProcessFacts(of: new).children.isEmpty)
            try server.letGo("FIFO")
        }
    }

    /// Whoever asked waits for the end of the old process.
    @Test func `A new process that is told to stop is not said to serve`() async throws {
        try await Server.controlledAlone(["--linger", "FIFO", "--drain-timeout", "300000"]) { server in
            let upgrade = try Ctl(server, "upgrade")
            try await upgrade.output(containing: "new owner")
            let stop = try Ctl(server, "stop")
            try await upgrade.output(containing: "stopping")
            // Both wait for a byte: this one goes to the old process.
            let successor = try await server.successor(of: server.first)
            server.signal(successor, SIGSTOP)
            #expect(await server.eventually { ProcessFacts.isStopped(successor) })
            try server.letGo("FIFO")
            _ = try await server.ending(of: server.first)
            server.signal(successor, SIGCONT)
            let result = try await upgrade.result()
            #expect(result.status == 8 && result.errors.contains("was told to stop since"), "\(result)")
            try server.letGo("FIFO")
            #expect(try await stop.result().status == 0)
            try await server.everythingToEnd()
        }
    }

    // MARK: By itself

    @Test(arguments: ["bash", "zsh", "fish"])
    func `It writes completions`(_ shell: String) async throws {
        let result = try await Ctl(["--generate-completion-script", shell]).result()
        #expect(result.status == 0 && result.output.contains("rollback"), "\(result)")
    }

    @Test(arguments: ["upgrade", "status", "watch", "check", "commit", "rollback", "stop"])
    func `The help of each command says what it does and how it ends`(_ command: String) async throws {
        let environment = ["COLUMNS": "80"]
        let result = try await Ctl(["help", command], environment: environment).result()
        #expect(result.status == 0, "\(result)")
        for words in ["OVERVIEW: ", "EXIT STATUS", "USAGE: tableflipctl \(command)", "--control-socket", "--json"] {
            #expect(result.output.contains(words), "\(words) in \(result.output)")
        }
        let all = try await Ctl(["--help"], environment: environment).result()
        #expect(all.output.contains("\n  \(command) "), "\(all)")
    }

    @Test(arguments: [
        [], ["upgrade", "--timeout", "0s"], ["upgrade", "--timeout", "soon"], ["upgrade", "--wat"], ["flip"],
        ["upgrade", "--timeout", "10000h"], ["check", "--start", "--timeout", "10000h"],
        ["upgrade", "--patience", "0s"], ["upgrade", "--executable", ""], ["upgrade", "--env-file", ""],
        ["check", "--executable", ""], ["check", "--env-file", ""], ["help", "flip"],
    ])
    func `Wrong usage is told, and asks nobody`(_ words: [String]) async throws {
        let result = try await Ctl(words, environment: ["TABLEFLIP_CONTROL_SOCKET": "/nowhere/control"]).result()
        #expect(result.status == 64 && result.output.isEmpty && result.errors.contains("Error: "), "\(result)")
    }

    /// The service would take a relative path for one in its own directory.
    @Test(arguments: [["--executable", "bin/hello"], ["--env-file", "next.env"]])
    func `In a directory that is gone a relative path is told, and asks nobody`(_ words: [String]) async throws {
        try await TemporaryDirectory.with("gone") { directory in
            let gone = directory.appending(path: "gone").path
            let result = try await Ctl(
                ["upgrade", "--control-socket", "/nowhere/control"] + words,
                launcher: ["sh", "-c", "cd \(gone) && rmdir \(gone) && exec \"$@\"", "sh"]
            ).result()
            #expect(result.status == 4 && result.errors.contains("the current directory is gone"), "\(result)")
        }
    }

    // MARK: Nobody reads

    @Test(.enabled(if: FileManager.default.fileExists(atPath: "/dev/full")))
    func `An answer that cannot be written is a failure, and an upgrade keeps its own status`() async throws {
        try await Server.controlled { server in
            let full = ["sh", "-c", "exec \"$@\" >/dev/full", "sh"]
            for words in [["status"], ["status", "--json"], ["check"]] {
                let result = try await Ctl(
                    words, launcher: full, environment: ["TABLEFLIP_CONTROL_SOCKET": server.control.path]
                ).result()
                #expect(result.status == 74 && result.errors.contains("cannot be written"), "\(result)")
            }
            let upgrade = try await Ctl.run(server, "upgrade", launcher: full)
            #expect(upgrade.status == 0, "\(upgrade)")
            try await server.follow(to: try await server.successor(of: server.first), from: server.first)
        }
    }

    /// As a shell starts it, which leaves SIGPIPE as it is.
    @Test(arguments: zip(["", "exit 3"], [0, 1]))
    func `An upgrade whose reader goes keeps its own status`(_ behaviour: String, _ status: Int) async throws {
        try await Server.controlled { server in
            let first = server.current
            try server.misbehave(behaviour)
            let result = try await Ctl.run(
                server, "upgrade", launcher: ["sh", "-c", "{ \"$@\"; echo \"status $?\" >&2; } | true", "sh"])
            #expect(result.errors.contains("status \(status)"), "\(result)")
            if status == 0 { try await server.follow(to: try await server.successor(of: first), from: first) }
        }
    }

    #if os(Linux)
    /// As under ssh, where the other end of a pipe may have set O_NONBLOCK for both.
    @Test func `A slow reader loses nothing where the pipe does not wait for it`() async throws {
        try await Server.controlled { server in
            let relay = """
                import fcntl, os, subprocess, sys
                reading, writing = os.pipe()
                room = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
                os.set_blocking(writing, False)
                os.write(writing, b"-" * (room - 16))
                child = subprocess.Popen(sys.argv[1:], stdout=writing)
                os.close(writing)
                # One that gives up has ended by then.
                try: child.wait(1)
                except subprocess.TimeoutExpired: pass
                text = b""
                while more := os.read(reading, 65536): text += more
                sys.stdout.write(text.decode().lstrip("-"))
                sys.exit(child.wait())
                """
            let result = try await Ctl.run(
                server, "status", "--json", launcher: ["/usr/bin/python3", "-c", relay])
            #expect(result.status == 0 && result.objects.first?["type"] as? String == "status", "\(result)")
        }
    }
    #endif

    /// As systemd starts it, with SIGPIPE ignored.
    @Test func `A watch that nobody reads any more ends with the next event`() async throws {
        try await Server.controlled { server in
            let watch = try Ctl(
                server, "watch", "--json",
                // Its reader has gone before the line is told.
                launcher: [
                    "sh", "-c",
                    "trap '' PIPE; { \"$@\"; echo \"status $?\" >&2; } | { read -r line; exec <&-; echo \"$line\"; }",
                    "sh",
                ])
            try await watch.output(containing: "watching")
            for _ in 0..<2 { try await server.replace() }
            let result = try await watch.result()
            #expect(result.errors.contains("Broken pipe") && result.errors.contains("status 74"), "\(result)")
        }
    }

    // MARK: Nobody there

    @Test func `What is no service of ours is not understood`() async throws {
        try await TemporaryDirectory.with { directory in
            let path = directory.appending(path: "c").path
            let listener = try LocalListener(at: path)
            defer { listener.close() }
            let asking = try Ctl(["status", "--control-socket", path])
            try await listener.answerOne("SSH-2.0-OpenSSH_9.2\r\n")
            let result = try await asking.result()
            #expect(result.status == 7 && result.errors.contains("what listens at \(path)"), "\(result)")
        }
    }

    /// The command reckons with them: what would overflow is refused, and what may be is shown.
    @Test(arguments: [
        ControlReply.status(.init(generation: .max, process: 1, state: "serving", since: 0, time: 0)),
        .status(.init(generation: 1, process: 1, state: "serving", since: .min, time: .max)),
        .status(
            .init(
                generation: 1, process: 1, state: "serving", since: 0, time: 0,
                upgrades: [.init(time: 0, generation: 1, process: 1, successor: 2, milliseconds: -1)])),
        .event(.init(phase: "ready", generation: 1, process: 1, elapsedNanoseconds: -1)),
        .event(.init(phase: "moving", generation: 1, process: 1, done: .max, total: 1)),
    ])
    func `Numbers that nothing has are not understood`(_ reply: ControlReply) async throws {
        let result = try await Self.result(of: reply)
        #expect(result.status == 7 && result.errors.contains("with an invalid"), "\(result)")
    }

    @Test func `The greatest numbers that may be are shown`() async throws {
        let (count, time) = (Int(ControlLimit.count), ControlLimit.milliseconds)
        let record = ControlRecord(time: time, generation: count, process: 1, successor: .max, milliseconds: time)
        let status = ControlStatus(
            generation: count, process: .max, state: "serving", since: time, time: 0, connections: count,
            upgrades: [record])
        let result = try await Self.result(of: .status(status))
        #expect(result.status == 0 && result.output.contains("generation 4294967296"), "\(result)")
    }

    @Test(arguments: ["status", "watch", "upgrade", "check"])
    func `What would command a terminal or begin a line is shown as something else`(_ command: String) async throws {
        let words = "a\u{1b}[2J\u{9b}1A\r\nstate        serving"
        let reply: ControlReply =
            switch command {
            case "status":
                .status(
                    .init(
                        generation: 1, process: 1, state: words, since: 0, time: 0, version: words, program: words,
                        pidFile: words,
                        listeners: [.init(name: words, kind: words, address: words, port: 1, isInherited: true)],
                        upgrades: [
                            .init(
                                time: 0, generation: 1, process: 1, successor: 2, milliseconds: 0,
                                failure: .init(code: words, message: words))
                        ]))
            case "watch", "upgrade":
                .event(.init(phase: words, generation: 1, process: 1, failure: .init(code: words, message: words)))
            default: .findings([.init(words, isGood: false, words)])
            }
        let result = try await Self.result(of: reply, command)
        let all = result.output + result.errors
        #expect(all.contains("a\u{FFFD}[2J\u{FFFD}1A\u{FFFD}\u{FFFD}state"), "\(result)")
        #expect(all.unicodeScalars.allSatisfy { $0 == "\n" || $0.properties.generalCategory != .control }, "\(result)")
        #expect(!all.contains("\nstate        serving"), "\(result)")
        let json = try await Self.result(of: reply, command, "--json")
        #expect(json.output.contains("a\\u001b[2J\\u009b1A\\u000d\\nstate"), "\(json)")
    }

    /// What the command makes of such an answer.
    private static func result(of reply: ControlReply, _ words: String...) async throws -> Ctl.Result {
        try await TemporaryDirectory.with { directory in
            let path = directory.appending(path: "c").path
            let listener = try LocalListener(at: path)
            defer { listener.close() }
            let asking = try Ctl(
                (words.isEmpty ? [reply.isLast ? "status" : "watch"] : words) + ["--control-socket", path])
            try await listener.answerOne(reply.frame.encoded())
            return try await asking.result()
        }
    }

    /// Such as from a new process whose release speaks another version.
    @Test func `What an accepted order comes to is not known where the rest is not understood`() async throws {
        try await TemporaryDirectory.with { directory in
            let path = directory.appending(path: "c").path
            let listener = try LocalListener(at: path)
            defer { listener.close() }
            let asking = try Ctl(["upgrade", "--control-socket", path])
            let accepted = ControlReply.accepted(generation: 3, process: 4711).frame.encoded()
            try await listener.answerOne(String(decoding: accepted, as: UTF8.self) + "SSH-2.0-OpenSSH_9.2\r\n")
            let result = try await asking.result()
            #expect(result.status == 8 && result.errors.contains("what listens at \(path)"), "\(result)")
        }
    }

    @Test func `Where nobody answers, the words name the path and the cure`() async throws {
        try await TemporaryDirectory.with { directory in
            let path = directory.appending(path: "c").path
            var result = try await Ctl(["status", "--control-socket", path]).result()
            #expect(result.status == 5 && result.errors.contains("there is no control socket at \(path)"), "\(result)")
            #expect(result.errors.contains("or it is stopping"), "\(result)")
            do {
                // Bound, and nobody behind it any more.
                let listener = try LocalListener(at: path)
                listener.close()
            }
            result = try await Ctl(["status", "--control-socket", path]).result()
            #expect(result.status == 5 && result.errors.contains("nobody listens at \(path)"), "\(result)")
            unlink(path)
            let silent = try LocalListener(at: path)
            defer { silent.close() }
            result = try await Ctl(["status", "--control-socket", path]).result()
            #expect(result.status == 5 && result.errors.contains("nobody has answered at \(path)"), "\(result)")
            let file = directory.appending(path: "file").path
            try Data().write(to: URL(filePath: file))
            for other in [file, directory.path] {
                result = try await Ctl(["status", "--control-socket", other]).result()
                #expect(result.status == 5 && result.errors.contains("\(other) is no socket"), "\(result)")
            }
            result = try await Ctl(["status", "--control-socket", ""]).result()
            #expect(result.status == 64 && result.errors.contains("Which service?"), "\(result)")
            result = try await Ctl(["status"]).result()
            #expect(result.status == 64 && result.errors.contains("TABLEFLIP_CONTROL_SOCKET"), "\(result)")
        }
    }

    @Test func `The patience of an upgrade begins with the request`() async throws {
        try await TemporaryDirectory.with { directory in
            let path = directory.appending(path: "c").path
            let silent = try LocalListener(at: path)
            defer { silent.close() }
            let result = try await Ctl(["upgrade", "--patience", "50ms", "--json", "--control-socket", path]).result()
            #expect(result.status == 8 && result.objects.last?["code"] as? String == "impatient", "\(result)")
            let message = try #require(result.objects.last?["cure"] as? String)
            #expect(message.contains("may still be carried out"), "nobody has taken it: \(result)")
            // Whoever only asks has to be answered, however short the time.
            let watch = try await Ctl(["watch", "--for", "50ms", "--control-socket", path]).result()
            #expect(watch.status == 5, "\(watch)")
        }
    }

    /// It lies in the queue, where the next process that accepts finds it.
    @Test(arguments: [["upgrade"], ["check", "--start"], ["commit"], ["rollback"], ["stop"]])
    func `An order that nobody has answered may still be carried out, and the words say so`(
        _ words: [String]
    ) async throws {
        try await TemporaryDirectory.with { directory in
            let path = directory.appending(path: "c").path
            let silent = try LocalListener(at: path)
            defer { silent.close() }
            let result = try await Ctl(words + ["--control-socket", path]).result()
            #expect(result.status == 8 && result.errors.contains("may still be carried out"), "\(result)")
        }
    }

    /// Nobody of this number is known to the system.
    static let stranger = 64_123

    @Test(.enabled(if: getuid() == 0 && Server.has("setpriv"), "to be somebody else one has to be root, with setpriv"))
    func `Another user is not permitted, and the log says who`() async throws {
        let launcher = ["setpriv", "--reuid", "\(Self.stranger)", "--clear-groups", "--"]
        try await Server.controlled(.reader, ["--control-mode", "666"]) { server in
            let result = try await Ctl.run(server, "status", launcher: launcher)
            #expect(result.status == 6 && result.errors.contains("user \(Self.stranger) may not control"), "\(result)")
            #expect(server.errorText.contains("control: a client is not permitted"))
            #expect(server.errorText.contains("uid=\(Self.stranger)"))
        }
        try await Server.controlled { server in
            var facts = stat()
            #expect(stat(server.control.path, &facts) == 0 && facts.st_mode & 0o777 == 0o600)
            let result = try await Ctl.run(server, "status", launcher: launcher)
            #expect(result.status == 6 && result.errors.contains("may not connect"), "\(result)")
        }
        try await Server.controlled(.reader, ["--control-mode", "666", "--control-user", "\(Self.stranger)"]) {
            server in
            let result = try await Ctl.run(server, "status", launcher: launcher)
            #expect(result.status == 0, "\(result)")
        }
    }
}
