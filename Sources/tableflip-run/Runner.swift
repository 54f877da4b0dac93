// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipCore
import TableflipSystem

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The one loop: signals go to the process in charge, notifications say which that is, and what ends is reaped.
struct Runner {
    private enum Source {
        case signals
        case notifications
        case mainProcess
    }

    private let plan: Arguments.Plan
    private let signals: WakeUp
    private let listener: NotifyListener
    /// Our own.
    private let manager: NotifySocket?
    private let descent: Descent
    private var lineage: Lineage
    private var stop = StopOrder()
    /// The process in charge, where it is not our child, so that nothing else tells of its end.
    private var watch: SpawnedProcess?
    /// When the process in charge has ended: how long the others have.
    private var deadline: SuspendingClock.Instant?
    private var managerFailed = false
    private var hasIgnoredStranger = false
    private var hasDoubtedUser = false
    /// The user of the process in charge, or of the last one of which it was known.
    private var user: UInt32?
    private let clock = SuspendingClock()

    init(_ plan: Arguments.Plan) throws(UpgradeError) {
        self.plan = plan
        // A reader of our standard error that has gone must not end the service.
        signal(SIGPIPE, SIG_IGN)
        let directory = try ProcessEnvironment.directory()
        let executable = try ExecutablePath(finding: plan.program.first ?? [], from: directory)
        self.listener = try NotifyListener()
        self.manager = NotifySocket.ofEnvironment()
        // Before there is a process to lose sight of.
        self.signals = try UpgradeError.wrapping("signals cannot be received") { () throws(SystemCallError) in
            try WakeUp(receiving: ForwardedSignals.all + [SIGCHLD])
        }
        // Else nothing tells of the end of a process that another one has started: as every process in charge is after the
        // first upgrade.
        guard tf_adopt_orphans() == 0 else {
            throw UpgradeError(
                .system, "orphans cannot be adopted here: \(SystemCallError("prctl"))",
                cure: "tableflip-run needs Linux, for it would not learn of the end of an upgraded process."
            )
        }
        let request = SpawnRequest(
            executable: executable, arguments: CStrings(plan.program),
            environment: Self.environment(self.listener.socket), directory: directory
        )
        // A session of its own: what goes to our terminal or group reaches it once, by way of us. A service takes a
        // second SIGTERM for "now".
        let process = try DirectSpawner(capabilities: .current).spawnInNewSession(request)
        self.descent = Descent(session: process)
        self.lineage = Lineage(first: process)
    }

    /// The program's manager is this process. What ours meant for one process, by its id, means nothing to another.
    private static func environment(_ socket: NotifySocket) -> CStrings {
        var environment = ProcessEnvironment.inheritable()
        for name in ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"] {
            environment.set((Array(name.utf8), nil))
        }
        environment.set((Array(NotifySocket.variable.utf8), Array(socket.address.utf8)))
        return environment
    }

    /// Runs until nothing is left.
    /// - Returns: the status to end with.
    mutating func run() -> CInt {
        while true {
            let sources = self.wait()
            // They say to whom a signal goes: also those that came meanwhile.
            self.readNotifications(atMost: Self.notificationsPerTurn)
            if sources.contains(.signals) { self.readSignals() }
            if sources.contains(.mainProcess) { self.mainProcessEnded() }
            guard self.reap() else { return self.lineage.status }
            self.arm()
            if let deadline, deadline <= self.clock.now {
                Run.say("what the program left behind did not end within \(self.plan.patience), and is killed")
                self.descent.killAll()
                return self.lineage.status
            }
        }
    }

    private mutating func arm() {
        guard self.lineage.ending != nil else { return self.deadline = nil }
        guard self.deadline == nil else { return }
        self.deadline = self.clock.now + self.plan.patience
        // It may have ended of a stop, and need not have told anybody: a shell does not, nor a program its helpers. One
        // that still drains takes it without harm.
        self.passStopOn(to: self.descent.processes)
    }

    private func wait() -> [Source] {
        var poll = Poll<Source>()
        poll.add(.signals, self.signals.descriptor, Poll<Source>.readable)
        poll.add(.notifications, self.listener.number, Poll<Source>.readable)
        if let watch { poll.add(.mainProcess, watch.watchDescriptor, Poll<Source>.readable) }
        return poll.wait(self.deadline.map { max(.zero, self.clock.now.duration(to: $0)) })
    }

    // MARK: Signals

    private mutating func readSignals() {
        for signal in self.signals.clear().map(WakeUp.Signal.init) where signal.number != SIGCHLD {
            // Where the process in charge has ended, the others hear it: they are what we wait for.
            let hearers = self.lineage.ending == nil ? [self.lineage.current] : self.descent.processes
            self.stop.wasSent(signal.number, to: hearers)
            for process in hearers { ProcessID.signal(process, signal.number) }
        }
    }

    private mutating func passStopOn(to processes: [CInt]) {
        for process in processes {
            if let signal = self.stop.signal(for: process) { ProcessID.signal(process, signal) }
        }
    }

    // MARK: Notifications

    /// A flood lets the signals have their turn.
    private static let notificationsPerTurn = 64
    /// More than the socket's queue holds (net.unix.max_dgram_qlen: 10, or 512 where systemd has set it): what a process
    /// said before it ended is among them.
    private static let notificationsPerEnd = 1024

    private mutating func readNotifications(atMost limit: Int) {
        for _ in 0..<limit {
            guard let arrival = self.listener.receive() else { return }
            guard let sender = arrival.sender else {
                self.ignoreStranger()
                continue
            }
            let notification = Notification(arrival.bytes)
            guard self.believes(sender.process, sender.user) else {
                if notification.main != nil { self.doubt(sender.process, sender.user) }
                continue
            }
            if notification.beginsUpgrade { self.stop.wasNone() }
            if let main = notification.main { self.follow(main) }
            self.passOn(notification.rest)
        }
    }

    /// The kernel names the sender. It is the process in charge, or another one of the program's, of a user who might as
    /// well send signals to the process in charge.
    private mutating func believes(_ process: CInt, _ user: UInt32) -> Bool {
        if process == self.lineage.current { return true }
        // In this order: to look for a process among the descendants takes longer, for which strangers could make it do.
        self.noteUser()
        guard user == 0 || user == getuid() || user == self.user else { return false }
        return self.descent.includes(process)
    }

    /// A program may drop its user at any time, and one that has been reaped is not there to be asked: its successor,
    /// which says then that it is in charge, has its user.
    private mutating func noteUser() {
        guard self.lineage.ending == nil else { return }
        var status = stat()
        if stat("/proc/\(self.lineage.current)", &status) == 0 { self.user = status.st_uid }
    }

    /// Only of the program's own, and as far as it takes no time to see: strangers may send what they like.
    private mutating func doubt(_ process: CInt, _ user: UInt32) {
        guard !self.hasDoubtedUser, self.descent.isInSession(process) else { return }
        Run.say("MAINPID= of process \(process) is not heard: its user, \(user), is none that may stop the service")
        self.hasDoubtedUser = true
    }

    /// Where the kernel has no id for a sender, it is none of ours: whatever the program starts has one here.
    private mutating func ignoreStranger() {
        if !self.hasIgnoredStranger { Run.say("a notification from outside this PID namespace is ignored") }
        self.hasIgnoredStranger = true
    }

    private mutating func follow(_ process: CInt) {
        guard process != self.lineage.current || self.lineage.ending != nil else { return }
        guard self.lineage.wasNamed(process, isOurs: self.descent.includes(process)) else {
            return Run.say("MAINPID=\(process) is none of the program's processes, and is not followed")
        }
        self.watch = nil
        guard self.lineage.ending == nil else { return }
        // The one before did nothing about it, if it had been replaced already. If it had not, it has told this one,
        // and a service takes both for one.
        self.passStopOn(to: [process])
        let descriptor = tf_process_descriptor(process)
        guard descriptor >= 0 else { return }
        self.watch = SpawnedProcess(id: process, descriptor: OwnedDescriptor(takingOwnershipOf: descriptor))
    }

    private mutating func passOn(_ bytes: [UInt8]) {
        guard let manager, !bytes.isEmpty else { return }
        do throws(SystemCallError) {
            try manager.send(bytes)
        } catch {
            if !self.managerFailed { Run.say("notifications do not reach \(manager.address): \(error)") }
            self.managerFailed = true
        }
    }

    // MARK: Ends

    /// - Returns: whether there is anything left.
    private mutating func reap() -> Bool {
        while true {
            let process = tf_dead_child()
            if process == 0 { return true }
            // What it said last comes first: it may have named the next one.
            self.readNotifications(atMost: Self.notificationsPerEnd)
            guard process > 0 else { return self.watch != nil && self.lineage.ending == nil }
            if process == self.lineage.current { self.noteUser() }
            var end = tf_exit()
            guard tf_reap(process, false, &end) == 0, end.reaped else { continue }
            self.lineage.hasEnded(process, SpawnedProcess.Ending(end))
            self.stop.hasEnded(process)
            if process == self.watch?.id { self.watch = nil }
        }
    }

    /// Of a child it is told by `reap`, which then finds how.
    private mutating func mainProcessEnded() {
        self.noteUser()
        guard let watch, self.reap(), self.watch != nil, let ending = watch.collect() else { return }
        self.lineage.hasEnded(watch.id, ending)
        self.watch = nil
    }
}
