// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import ArgumentParser
import Foundation
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import Tableflip
import TableflipNIO

/// A HTTP server that SIGHUP replaces.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs the server alone. SIGHUP upgrades it, SIGTERM and SIGINT stop it.",
        discussion: """
            GET /           the process id, on one line
            GET /delay/2s   the same, after that time
            GET /bytes/N    N bytes, chunked; ?over=3s spreads them over that time
            POST /echo      the body
            /ws             a WebSocket echo
            """
    )

    @Option(help: "Where to listen, HOST:PORT; port 0 is any.")
    var listen = AddressArgument.standard

    @Option(help: "What the listener is called, such as a socket unit's FileDescriptorName=; by default its address.")
    var listenName: String?

    @Option(help: "The file that names the process in charge.")
    var pidFile: String?

    @Option(help: "Where tableflipctl reaches the server: a path.")
    var controlSocket: String?

    @Option(help: "How long a successor may take to be ready, such as 500ms or 10s.")
    var upgradeTimeout = DurationArgument(.seconds(60))

    @Option(help: .init("How long accepting may take to pause.", visibility: .hidden))
    var pauseTimeout = DurationArgument(.seconds(1))

    @Option(help: "How long a replaced or stopped process may take to finish its requests.")
    var drainTimeout = DurationArgument(.seconds(30))

    @Option(
        help: "How long a successor serves before it owns the service; until then the old process can take it back.")
    var probation = DurationArgument(.zero)

    @Option(help: "Over how much time connections that cannot move are told to end.")
    var drainSpread = DurationArgument(.zero)

    @Option(help: "How many more descriptors to carry from generation to generation.")
    var extraFiles = 0

    @Option(help: "How much memory to hold, such as 64M.")
    var ballast: SizeArgument?

    @Option(help: "A file with flags for successors on one line, read anew by each.")
    var faultFile: String?

    @Flag(help: .init("Write a line of JSON for each event to the standard output.", visibility: .hidden))
    var jsonEvents = false

    @Option(
        help: .init("A folder to remove when the standard input ends; the server stops then.", visibility: .hidden))
    var scratch: String?

    @Flag(help: "Leave the listener in the service manager's store, for the next process if this one crashes.")
    var storeDescriptors = false

    @Flag(help: "Let an upgrade wait until the process before has left, rather than refuse it.")
    var overlapWaits = false

    @Flag(help: .init("Do not move connections, as if they were encrypted.", visibility: .hidden))
    var stay = false

    @Flag(help: .init("Serve HTTP without live connections, to see what they cost.", visibility: .hidden))
    var bare = false

    @OptionGroup(title: "Faults, for successors only")
    var faults: Faults

    func validate() throws {
        guard (0...100_000).contains(self.extraFiles) else { throw ValidationError("--extra-files takes 0 to 100000") }
    }

    func run() async throws {
        let logger = Logger(label: "tableflip-demo") { StreamLogHandler.standardError(label: $0) }
        // Before it is known whether this is a successor, whose probation it may say: what is wrong with it only that tells.
        let told = self.faultFile.map { path in Result { try Faults.read(from: path) } }
        let probation = ((try? told?.get()) ?? self.faults).successorProbation ?? self.probation
        do {
            let upgrader = try Upgrader(
                configuration: .init(
                    pidFile: self.pidFile, upgradeTimeout: self.upgradeTimeout.duration,
                    drainTimeout: self.drainTimeout.duration, pauseTimeout: self.pauseTimeout.duration,
                    overlap: self.overlapWaits ? .wait : .refuse, probation: .lasting(probation.duration),
                    controlSocket: self.controlSocket.map { .init(path: $0) }, version: "demo",
                    storesDescriptors: self.storeDescriptors
                ),
                logger: logger
            )
            let input = self.scratch.map { Scratch(folder: $0, stopping: upgrader) }
            defer { input?.remove() }
            do {
                try await self.serve(upgrader, at: self.listen.address, told, logger)
            } catch {
                // Whoever asked for the upgrade is told.
                await upgrader.giveUp(because: error)
                throw error
            }
        } catch let error as UpgradeError {
            // One that was only rehearsed has done what was wanted of it.
            logger.log(level: error.code == .rehearsed ? .info : .error, "\(error)")
            throw ExitCode(1)
        }
    }

    private func serve(
        _ upgrader: Upgrader, at address: Tableflip.SocketAddress, _ told: Result<Faults?, any Error>?, _ logger: Logger
    ) async throws {
        let lines = self.jsonEvents ? EventLines(upgrader.events) : nil
        let faults = upgrader.hasPredecessor ? try told?.get() ?? self.faults : nil
        try self.holdFiles(upgrader)
        // A successor fills its own when nobody waits for it any more, and there need not be room for two.
        if !upgrader.hasPredecessor { try self.holdMemory() }
        if let delay = faults?.initDelay { try await Task.sleep(for: delay.duration) }

        let listener = try upgrader.listen(on: address, name: self.listenName)
        let drained: () async throws -> Void
        if self.bare {
            let gate = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .childChannelInitializer(Pipeline.setUpBare)
                .bind(to: listener, of: upgrader)
            drained = {
                _ = await upgrader.exit
                try await gate.close()
            }
        } else {
            let stay = self.stay
            let server = try await LiveServer.start(on: listener, of: upgrader, spread: self.drainSpread.duration) {
                connection in
                try Pipeline.setUp(connection, moves: !stay)
            }
            // So that the first requests do not wait for what a new process does only once.
            let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            // A machine that is too busy for it is no reason not to serve.
            if upgrader.hasPredecessor { try? await server.warmUp(with: Array(request.utf8)) }
            drained = { try await server.drained() }
        }
        if let status = faults?.exitBeforeReady { Foundation.exit(status) }
        try await upgrader.ready()
        lines?.listening(port: listener.port ?? 0, generation: upgrader.generation)
        if upgrader.hasPredecessor {
            Task {
                try await upgrader.waitForPredecessor()
                Thread.detachNewThread {
                    do { try self.holdMemory() } catch { logger.error("\(error)") }
                }
            }
        }
        if let delay = faults?.crashAfterReady {
            Task.detached {
                try await Task.sleep(for: delay.duration)
                kill(getpid(), SIGKILL)
            }
        }
        if let delay = faults?.unwellAfterReady {
            Task.detached {
                try await Task.sleep(for: delay.duration)
                upgrader.isWell = false
            }
        }

        try await drained()
        await lines?.finish()
    }

    /// Descriptors that only make the upgrade's work larger.
    private func holdFiles(_ upgrader: Upgrader) throws {
        for number in 0..<self.extraFiles {
            _ = try upgrader.carry(.file, name: "extra file \(number)") { () throws(UpgradeError) in
                let descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC)
                guard descriptor >= 0 else {
                    throw UpgradeError(
                        .system, "extra file \(number) cannot be opened: \(String(cString: strerror(errno)))",
                        cure: "Raise the limit on open files (ulimit -n)."
                    )
                }
                return OwnedDescriptor(takingOwnershipOf: descriptor)
            }
        }
    }

    /// Memory that only is there.
    private func holdMemory() throws {
        guard let bytes = self.ballast?.bytes, bytes > 0 else { return }
        // SAFETY: never freed: it is there to be resident. Written to, so that it is.
        guard let memory = malloc(bytes) else {
            throw UpgradeError(.system, "there is no memory for a ballast of \(bytes) bytes", cure: "Ask for less.")
        }
        memory.initializeMemory(as: UInt8.self, repeating: 1, count: bytes)
    }
}
#endif  // NIO
