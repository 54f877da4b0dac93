// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CoreMetrics
import Logging
import TableflipCore
import TableflipSystem

/// What the engine shares with the rest of the program, and what tests put in its place.
struct EngineContext: Sendable {
    var configuration: Upgrader.Configuration
    var logger: Logger
    var capabilities: Capabilities
    /// Of the handshake; tests play other releases.
    var versions = ProtocolVersion.supported
    var trial = EngineTrial()
    var spawner: any ProcessSpawner
    /// What is started at an upgrade. Looked up anew each time.
    var program: @Sendable (Upgrader.Successor) throws(UpgradeError) -> SpawnRequest
    /// Sends a process a signal.
    var signal: @Sendable (_ process: CInt, _ signal: CInt) -> Void = { ProcessID.signal($0, $1) }
    /// Ends the process.
    var exitNow: @Sendable (CInt) -> Void
    var pidFile: PIDFile?
    /// Whether the end of this process is the end of a container.
    var isProcessOne = ProcessID.current == 1
    /// Who is told what this process does.
    var manager: NotifySocket?
    /// What relative paths count from.
    var directory: String
    let lifeline: Lifeline
    let inbox: EngineInbox
    let sockets: SocketRegistry
    let readers = ReaderRegistry()
    let finalStates: FinalStates
    let hooks = OwnershipHooks()
    let events = EventHub()
    let metrics: UpgradeMetrics
    let tally = ConnectionTally()
    let exit = Latch<ExitReason>()
    let predecessorLeft = Latch<Void>()
    /// Nothing more moves to the successor, and it has been told.
    let exported = Latch<Void>()
    let facts = EngineFacts()

    init(
        configuration: Upgrader.Configuration, logger: Logger, capabilities: Capabilities,
        spawner: any ProcessSpawner,
        program: @escaping @Sendable (Upgrader.Successor) throws(UpgradeError) -> SpawnRequest,
        exitNow: @escaping @Sendable (CInt) -> Void, pidFile: PIDFile?, directory: String = "/",
        factory: any MetricsFactory = MetricsSystem.factory
    ) throws(UpgradeError) {
        self.configuration = configuration
        self.logger = logger
        self.capabilities = capabilities
        self.spawner = spawner
        self.program = program
        self.exitNow = exitNow
        self.pidFile = pidFile
        self.directory = directory
        self.sockets = SocketRegistry(self.facts)
        self.metrics = UpgradeMetrics(factory: factory)
        self.finalStates = FinalStates(capabilities: capabilities)
        (self.lifeline, self.inbox) = try UpgradeError.wrapping("the upgrader cannot start") {
            () throws(SystemCallError) in (try Lifeline(capabilities: capabilities), try EngineInbox())
        }
    }

    /// Counts what became of the connections and has not been counted yet. From any thread.
    /// - Parameters:
    ///   - moved: how many the successor has taken by now.
    ///   - cut: how many the drain time-out ends.
    /// - Returns: how many more have moved and ended by themselves.
    @discardableResult
    func countConnections(moved: Int = 0, cut: Int = 0) -> (moved: Int, drained: Int) {
        let more = self.tally.more(moved: moved, drained: self.readers.connectionCounts.drained)
        self.metrics.connections(moved: more.moved, drained: more.drained, cut: cut)
        return more
    }
}
