// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Logging
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

/// A plain-socket server that tests start and upgrade. It says on its standard output what happens, a line each:
/// `PID GENERATION WORD …`.
@main
struct Probe {
    static func main() async {
        let options = Options(CommandLine.arguments)
        if options.saysDescriptors {
            self.say(0, "descriptors \(Storm.openNumbers.map { "\($0)" }.joined(separator: ","))")
        }
        let misbehaviour = Misbehaviour(file: options.behaviourFile)
        misbehaviour?.early()
        do {
            try await self.serve(options, misbehaviour)
        } catch {
            self.say(0, "error \(error)")
            exit(1)
        }
    }

    /// Standard output may be closed on purpose.
    private static let output: CInt = CommandLine.arguments.contains("--say-on-error") ? 2 : 1

    static func say(_ generation: Int, _ words: String) {
        let line = Array("\(getpid()) \(generation) \(words)\n".utf8)
        // One write: lines of several generations share the pipe and must not mix (pipe(7), PIPE_BUF).
        _ = write(self.output, line, line.count)
    }

    /// Of all threads, for good (setuid(2), "C library/kernel differences").
    private static func dropPrivileges() throws {
        let nobody: uid_t = 65534
        guard setgroups(0, nil) == 0, setgid(nobody) == 0, setuid(nobody) == 0 else { throw SystemCallError("setuid") }
    }

    private static func give(_ order: String, to upgrader: Upgrader) async {
        do {
            if order == "commit" {
                try await upgrader.commit()
            } else {
                try await upgrader.rollBack(because: "not today")
            }
            self.say(upgrader.generation, "order \(order)")
        } catch {
            self.say(upgrader.generation, "order-refused \(error.code)")
        }
    }

    /// What a program does that closes a number twice. What comes next gets it, and is no socket for datagrams.
    private static func carryAndClose(with upgrader: Upgrader) throws {
        let number = socket(AF_UNIX, Platform.datagram, 0)
        let wanted = DescriptorFacts.inode(of: number)
        try upgrader.carry(OwnedDescriptor(takingOwnershipOf: number), as: .datagram, name: "lost")
        precondition(DescriptorFacts.inode(of: number) == wanted, "it is another number by now")
        close(number)
    }

    /// Every generation adds its number to both lists.
    private static func handOverState(_ upgrader: Upgrader) throws {
        let generation = upgrader.generation
        func line(_ kind: String, _ bytes: [UInt8]) {
            self.say(generation, "state \(kind) \(bytes.map { "\($0)" }.joined(separator: ","))")
        }
        let left = try upgrader.inheritedState("left", versions: 1...2)?.bytes() ?? []
        line("left", left)
        try upgrader.leaveState(left + [UInt8(generation)], name: "left", version: 2)
        let list = GenerationList()
        try upgrader.restoreFinalState("final", versions: 1...1) { state in
            let bytes = try state?.bytes() ?? []
            list.numbers.withLock { $0 = bytes + [UInt8(generation)] }
            self.say(generation, "state final \(bytes.map { "\($0)" }.joined(separator: ","))")
        }
        try upgrader.provideFinalState("final", version: 1) { list.numbers.withLock { $0 } }
    }

    private static func serve(_ options: Options, _ misbehaviour: Misbehaviour?) async throws {
        var logger = Logger(label: "probe") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = ProcessEnvironment.value(of: "PROBE_TRACE") == nil ? .info : .trace
        let faults = options.faults.map { Faults(directory: $0) }
        var trial = faults?.trial ?? EngineTrial()
        trial.patience = options.patience
        let upgrader = try Upgrader(
            configuration: options.configuration(misbehaviour), logger: logger,
            capabilities: options.isPortable ? .portable : .current, versions: options.versions,
            parenthood: options.parenthood, trial: trial
        )
        faults?.upgrader.withLock { $0 = upgrader }
        let generation = upgrader.generation
        self.say(generation, "arguments \(CommandLine.arguments.count)")
        let events = upgrader.events
        let watching = Task {
            for await event in events {
                let code = event.error.map { " \($0.code)" } ?? ""
                self.say(event.generation, "event \(event.phase) \(event.peer)\(code)")
                if let error = event.error {
                    self.say(event.generation, "words \(error)")
                    let (seconds, attoseconds) = event.elapsed.components
                    self.say(event.generation, "microseconds \(seconds * 1_000_000 + attoseconds / 1_000_000_000_000)")
                }
                if event.phase == .probation, let order = options.order { await self.give(order, to: upgrader) }
            }
        }

        ForeignReaping.begin(options)
        var loops: [AcceptLoop] = []
        var listeners: [Listener] = []
        let listenOptions = ListenOptions(backlog: options.backlog, isIPv6Only: options.isIPv6Only)
        for address in options.listen {
            var own = listenOptions
            if address.description.hasPrefix("unix:") { own.unixMode = options.unixMode }
            listeners.append(try upgrader.listen(on: address, options: own))
        }
        if let (address, file) = options.optionalListen, access(file, F_OK) == 0 {
            listeners.append(try upgrader.listen(on: address))
        }
        var port: UInt16 = 0
        for number in 0..<options.group {
            let member = try upgrader.listen(
                on: .tcp(host: "127.0.0.1", port: port), name: "group \(number + 1)",
                options: ListenOptions(reusesPort: true))
            port = member.port ?? 0
            listeners.append(member)
        }
        if options.dropsPrivileges, getuid() == 0 { try self.dropPrivileges() }
        for listener in listeners {
            let address = listener.address
            self.say(
                generation,
                "listening \(listener.name.replacing(" ", with: "-")) \(listener.port ?? 0) \(listener.isInherited)")
            let loop = try AcceptLoop(
                listener, isDatagram: address.description.hasPrefix("udp") || address.description.hasPrefix("unixgram"),
                pauseWait: misbehaviour?.slowPause ?? options.pauseWait, saysAccepts: options.saysAccepts
            )
            if options.hasReader { upgrader.register(loop) }
            loops.append(loop)
        }
        for number in 0..<options.files {
            _ = try upgrader.carry(.file, name: "file \(number)") { () throws(UpgradeError) in
                OwnedDescriptor(takingOwnershipOf: open("/dev/null", O_RDONLY | O_CLOEXEC))
            }
        }
        try options.notes?.carry(with: upgrader)
        if options.hasOwnerLock, let pidFile = options.pidFile {
            OwnerLock(path: pidFile + ".lock").follow(upgrader, failing: misbehaviour?.word == "no-lock")
        }
        if options.hasState { try self.handOverState(upgrader) }
        for loop in loops { loop.start() }
        await misbehaviour?.late()
        if let misbehaviour, misbehaviour.word == "give-up" {
            await upgrader.giveUp(because: misbehaviour.parameter)
            exit(4)
        }
        if let readyWait = options.readyWait, generation == 1 {
            self.say(generation, "waiting")
            await Fifo.awaitByte(from: readyWait)
        }
        await options.mistake?.make(upgrader, isReady: false)
        try await upgrader.ready()
        if !options.hasReader { for loop in loops { await loop.resume() } }
        self.say(generation, "serving")
        misbehaviour?.afterReady()
        await options.mistake?.make(upgrader, isReady: true)
        if let shortage = options.shortage { DescriptorShortage.begin(shortage, generation: generation) }
        if options.hasStorm { Storm.begin() }
        if options.losesDescriptor {
            try self.carryAndClose(with: upgrader)
            self.say(generation, "lost")
        }
        if options.runsChild {
            for line in ForeignChild.run() { self.say(generation, "child \(line)") }
            self.say(generation, "child-done")
        }

        let reason = await upgrader.exit
        self.say(generation, "leaving \(reason)")
        for loop in loops { await loop.end() }
        if Faults.staysForEver.withLock({ $0 }) { await Faults.wait() }
        if let linger = options.linger { await Fifo.awaitByte(from: linger) }
        watching.cancel()
        await watching.value  // what was said until now is still told
        self.say(generation, "done")
    }
}

private final class GenerationList: Sendable {
    let numbers = Mutex<[UInt8]>([])
}

/// What other parts of a program do to the ends of its children.
private enum ForeignReaping {
    static func begin(_ options: Options) {
        if options.ignoresChildren { signal(SIGCHLD, SIG_IGN) }
        guard options.reapsAll else { return }
        if tf_start_thread(reapAll, nil, "reaper") != 0 { fatalError("no thread") }
    }
}

private func reapAll(_: UnsafeMutableRawPointer?) {
    while true {
        // Without a child it fails at once, and looks again.
        if waitpid(-1, nil, 0) < 0 { usleep(1000) }
    }
}
