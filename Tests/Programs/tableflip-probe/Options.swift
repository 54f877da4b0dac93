// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Tableflip
import TableflipCore
import TableflipSystem

/// `--flag value` pairs; a program that tests start needs no more.
struct Options {
    var listen: [SocketAddress] = []
    var pidFile: String?
    var upgradeTimeout = Duration.seconds(10)
    var drainTimeout = Duration.seconds(5)
    var pauseTimeout = Duration.seconds(1)
    var probation = Duration.zero
    /// The probation has a check, which a `Misbehaviour` can make fail.
    var hasCheck = false
    /// What to do when a successor is in its probation: `commit` or `roll-back`.
    var order: String?
    /// A file with one behaviour on its line, read anew by each successor; see `Misbehaviour`.
    var behaviourFile: String?
    /// Run with what every system can do, rather than with what this one can.
    var isPortable = false
    /// Register the accept loop as a reader.
    var hasReader = false
    var files = 0
    var notes: Notes?
    /// Listened on only while the file is there.
    var optionalListen: (address: SocketAddress, file: String)?
    var backlog: Int32?
    var isIPv6Only: Bool?
    /// Two sockets of one group.
    /// How many sockets share a port.
    var group = 0
    /// Reap every child, whoever's it is; ignore that children end.
    var reapsAll = false
    var ignoresChildren = false
    /// A signal at which a carried descriptor is closed behind its owner's back.
    var losesDescriptor = false
    /// Hand a list of all generations from process to process, as state left and as final state.
    var hasState = false
    /// Leave sockets and states with the service manager.
    var storesDescriptors = false
    var successor = Upgrader.Successor()
    /// Named pipes; see `Fifo`. Wait for a byte before returning from `main`, and before a reader has paused.
    var linger: String?
    var pauseWait: String?
    /// Start a program once this one serves, and tell what it sees.
    var runsChild = false
    /// Become a user without any right once the listeners are there.
    var dropsPrivileges = false
    /// A named pipe to wait for before the first generation is ready.
    var readyWait: String?
    /// A named pipe that says how many descriptors are to be free; see `DescriptorShortage`.
    var shortage: String?
    var hasStorm = false
    /// Say when a connection was accepted.
    var saysAccepts = false
    /// Say what is open before the library has started.
    var saysDescriptors = false
    var mistake: Mistake?
    /// Of the handshake, as another release may speak them.
    var versions = ProtocolVersion.supported
    var overlap = Upgrader.Configuration.Overlap.refuse
    /// Whose child a successor is; nil: as the environment says.
    var parenthood: Parenthood?
    var controlSocket: Upgrader.ControlSocket?
    /// Hold a lock beside the PID file while this process is the owner.
    var hasOwnerLock = false
    var unixMode: UInt16?
    /// For what takes microseconds unless something is wrong; nil: as ever.
    var quick: Duration?
    /// For every other deadline that no configuration has, and for hooks; nil: as ever.
    var deadlines: Duration?
    /// How often a successor that serves is looked at in vain; nil: as ever.
    var looks: Int?
    /// A directory of what goes wrong at which step; see `Faults`.
    var faults: String?

    init(_ arguments: [String]) {
        var rest = arguments.dropFirst()
        let isNext = ProcessEnvironment.value(of: ProcessEnvironment.channelVariable) != nil
        func milliseconds(_ text: String?) -> Duration { .milliseconds(text.flatMap { Int($0) } ?? 0) }
        while let flag = rest.popFirst() {
            switch flag {
            case "--listen": self.listen += rest.popFirst().flatMap { SocketAddress($0) }.map { [$0] } ?? []
            case "--pid-file": self.pidFile = rest.popFirst()
            case "--upgrade-timeout": self.upgradeTimeout = milliseconds(rest.popFirst())
            case "--drain-timeout": self.drainTimeout = milliseconds(rest.popFirst())
            case "--pause-timeout": self.pauseTimeout = milliseconds(rest.popFirst())
            case "--probation": self.probation = milliseconds(rest.popFirst())
            case "--check": self.hasCheck = true
            case "--order": self.order = rest.popFirst()
            case "--behaviour-file": self.behaviourFile = rest.popFirst()
            case "--portable": self.isPortable = true
            case "--listen-if":
                guard let file = rest.popFirst(), let address = rest.popFirst().flatMap({ SocketAddress($0) }) else {
                    break
                }
                self.optionalListen = (address, file)
            case "--backlog": self.backlog = rest.popFirst().flatMap { Int32($0) }
            case "--ipv6-only": self.isIPv6Only = rest.popFirst() == "1"
            case "--unix-mode": self.unixMode = rest.popFirst().flatMap { UInt16($0, radix: 8) }
            case "--group": self.group = rest.popFirst().flatMap { Int($0) } ?? 0
            case "--reap-all": self.reapsAll = true
            case "--ignore-children": self.ignoresChildren = true
            case "--lose-descriptor": self.losesDescriptor = true
            case "--state": self.hasState = true
            case "--store": self.storesDescriptors = true
            case "--reader": self.hasReader = true
            case "--files": self.files = rest.popFirst().flatMap { Int($0) } ?? 0
            case "--notes":
                guard let count = rest.popFirst().flatMap({ Int($0) }), let directory = rest.popFirst() else { break }
                self.notes = Notes(count: count, directory: directory)
            case "--executable": self.successor.executable = rest.popFirst()
            case "--next-arguments":
                // One more argument, by the first process alone.
                let added = rest.popFirst().map { [$0] } ?? []
                if !isNext { self.successor.arguments = arguments + added }
            case "--directory": self.successor.directory = rest.popFirst()
            case "--environment-file": self.successor.environment.file = rest.popFirst()
            case "--no-inherited-environment": self.successor.environment.inherits = false
            case "--set":
                let words = (rest.popFirst() ?? "").split(separator: "=", maxSplits: 1).map(String.init)
                self.successor.environment.changes[words[0]] = .some(words.count > 1 ? words[1] : nil)
            case "--linger": self.linger = rest.popFirst()
            case "--pause-wait": self.pauseWait = rest.popFirst()
            case "--run-child": self.runsChild = true
            case "--ready-wait": self.readyWait = rest.popFirst()
            case "--drop-privileges": self.dropsPrivileges = true
            case "--shortage": self.shortage = rest.popFirst()
            case "--storm": self.hasStorm = true
            case "--say-accepts": self.saysAccepts = true
            case "--say-descriptors": self.saysDescriptors = true
            case "--mistake": self.mistake = rest.popFirst().flatMap { Mistake(rawValue: $0) }
            case "--versions":
                let words = (rest.popFirst() ?? "").split(separator: "-").compactMap { UInt16($0) }
                self.versions = ProtocolVersion(rawValue: words[0])...ProtocolVersion(rawValue: words[1])
            case "--overlap-waits": self.overlap = .wait
            case "--parenthood": self.parenthood = rest.popFirst() == "adopted" ? .adopted : .manager
            case "--control-socket": self.controlSocket = rest.popFirst().map { .init(path: $0) }
            case "--control-first-only":
                if isNext { self.controlSocket = nil }
            case "--control-mode":
                self.controlSocket?.mode = rest.popFirst().flatMap { UInt16($0, radix: 8) } ?? 0o600
            case "--control-mode-next":
                let mode = rest.popFirst().flatMap { UInt16($0, radix: 8) }
                if isNext, let mode { self.controlSocket?.mode = mode }
            case "--control-user":
                if let user = rest.popFirst().flatMap({ UInt32($0) }) { self.controlSocket?.allowedUsers.insert(user) }
            case "--owner-lock": self.hasOwnerLock = true
            case "--quick": self.quick = milliseconds(rest.popFirst())
            case "--deadlines": self.deadlines = milliseconds(rest.popFirst())
            case "--looks": self.looks = rest.popFirst().flatMap { Int($0) }
            case "--faults": self.faults = rest.popFirst()
            default: break  // tests pass odd arguments on purpose, to see them arrive
            }
        }
    }

    var patience: Patience {
        var patience = Patience()
        if let quick { patience.quick = quick }
        if let looks { patience.looks = looks }
        if let deadlines { (patience.generous, patience.pauses, patience.hooks) = (deadlines, deadlines, deadlines) }
        return patience
    }

    func configuration(_ misbehaviour: Misbehaviour?) -> Upgrader.Configuration {
        var configuration = Upgrader.Configuration(
            pidFile: self.pidFile, upgradeTimeout: self.upgradeTimeout, drainTimeout: self.drainTimeout,
            pauseTimeout: self.pauseTimeout, successor: self.successor, overlap: self.overlap,
            controlSocket: self.controlSocket, version: "probe 1"
        )
        configuration.storesDescriptors = self.storesDescriptors
        configuration.probation = .lasting(self.probation)
        if misbehaviour?.word == "slow-pause" { configuration.pauseTimeout = .seconds(20) }
        // What the next generation gets wrong before it can speak.
        if misbehaviour?.word == "misconfigure" { configuration.drainTimeout = .zero }
        if misbehaviour?.word == "control" { configuration.controlSocket?.path = misbehaviour?.parameter ?? "" }
        if self.hasCheck { configuration.probation.check = { try await misbehaviour?.check() } }
        // A lock and a PID file take no time, but a busy machine may.
        configuration.hookTimeout = self.deadlines ?? .seconds(30)
        return configuration
    }
}
