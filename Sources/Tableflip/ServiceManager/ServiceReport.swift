// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// What a service manager is told of this process's events (sd_notify(3)). A value: what it says depends on nothing but
/// what it was told.
///
/// Only the process in charge speaks: systemd hears no other one (`NotifyAccess=main`). So a successor is silent until its
/// predecessor has named it, with `MAINPID=`, as the last thing that it says. That may have been in vain: a systemd that
/// has found the successor in a PID file by then hears the predecessor no more, and a reload that was begun would not end;
/// and a predecessor that died may have said nothing. So the successor says it once more, at the first word that follows,
/// else after half a second; and when its predecessor has left, and once more after that time, for systemd reads what it is
/// told before it looks at who has ended.
struct ServiceReport {
    /// One datagram.
    struct Notice: Equatable {
        var lines: [String]
        /// What follows must not happen before the manager knows.
        var isAwaited = false
    }

    private enum Role {
        /// A successor that does not own the service yet.
        case successor
        case main
        /// It has named another one, and what it would say is not heard any more.
        case replaced
    }

    /// How long things may take here, which is longer than the manager may have thought.
    struct Limits {
        /// From the start of a first process until it is ready.
        var initialisation: Duration
        /// From a stop to the end of the process.
        var stop: Duration

        /// For what the manager itself needs.
        fileprivate static let margin = Duration.seconds(5)
        /// An upgrade takes as long as its successor's initialisation and probation do: while it goes on the manager is
        /// asked for this much more each time.
        fileprivate static let more = Duration.seconds(25)
    }

    /// How often it is asked, and after what time something is repeated.
    static let pace = Duration.seconds(10)
    static let repetition = Duration.milliseconds(500)

    private let process: CInt
    private let limits: Limits
    private var role: Role
    private(set) var isReloading = false
    private var isStopping = false
    /// What this process does must be said once more.
    private(set) var isToRepeat = false
    private var generation = 0
    /// Of an owner: also how the last upgrade went.
    private var status = ""

    init(process: CInt, hasPredecessor: Bool, limits: Limits) {
        self.process = process
        self.limits = limits
        self.role = hasPredecessor ? .successor : .main
    }

    /// Whether the manager takes this process for the main one.
    var isMain: Bool { self.role == .main }

    /// Before anything has happened.
    var beginning: [Notice] {
        guard self.isMain else { return [] }
        return [.init(lines: ["STATUS=generation 1 initialises", Self.extend(self.limits.initialisation)])]
    }

    /// What is said every now and then. `isWatched`: the manager's watchdog is to hear of this process.
    mutating func pulse(isWatched: Bool) -> [Notice] {
        guard self.isMain else { return [] }
        let lines = (isWatched ? ["WATCHDOG=1"] : []) + (self.isReloading ? [Self.extend(Limits.more)] : [])
        return (lines.isEmpty ? [] : [.init(lines: lines)]) + self.repetition()
    }

    /// What is said of an event. `isAlone`: there was a predecessor, and it died, so that nobody else names this process.
    /// `time`: of CLOCK_MONOTONIC, in microseconds.
    mutating func notices(for event: UpgradeEvent, isAlone: Bool, time: UInt64) -> [Notice] {
        switch (self.role, event.phase) {
        case (.main, .owner): return self.isStopping ? [] : [.init(lines: ["READY=1", self.serves(event.generation)])]
        case (.successor, .owner):
            self.role = .main
            self.generation = event.generation
            self.status = self.serves(event.generation)
            self.isToRepeat = true
            // With NotifyAccess=main this is not heard; with all, and by tableflip-run, it is.
            return isAlone ? self.inCharge : []
        case (.main, .predecessorLeft):
            guard self.isToRepeat || !self.isStopping else { return [] }
            self.status = self.serves(event.generation)
            self.isToRepeat = true
            return self.inCharge
        case (.main, .waiting), (.main, .requested): return self.begin(event, time)
        case (.main, .spawned), (.main, .handedOver): return [self.status(event, "initialises")]
        case (.main, .ready), (.main, .go): return [self.status(event, "takes over")]
        case (.main, .probation): return [self.status(event, "serves on probation")]
        case (.main, .committed):
            self.role = .replaced
            // READY=1 ends RELOADING=1. Once the manager has come to this it hears the successor.
            let next = "STATUS=generation \(event.generation + 1) (PID \(event.peer)) serves"
            return [.init(lines: ["MAINPID=\(event.peer)", "READY=1", "WATCHDOG=1", next], isAwaited: true)]
        case (.main, .failed), (.main, .rolledBack): return self.fail(event, "failed", time)
        case (.main, .refused): return self.refuse(event, time)
        case (_, .stopping):
            guard !self.isStopping else { return [] }
            self.isStopping = true
            return self.isMain ? [self.stops(event.generation)] : []
        case (.main, .drainOverran):
            return [.init(lines: ["STATUS=the drain time-out has passed: what is left is cut"])]
        default: return []
        }
    }

    /// What is said once more, if there is anything: also when the predecessor has said its last to the manager, as its
    /// first word to this process shows.
    mutating func repetition() -> [Notice] {
        guard self.isMain, self.isToRepeat else { return [] }
        self.isToRepeat = false
        return self.inCharge
    }

    // MARK: -

    /// Who is the main process already says nothing new by `MAINPID=`. A reload of this process's own ends with a READY=1 of
    /// its own.
    private var inCharge: [Notice] {
        let state =
            if self.isReloading {
                [String]()
            } else if self.isStopping {
                self.stops(self.generation).lines
            } else {
                ["READY=1", self.status]
            }
        return [.init(lines: ["MAINPID=\(self.process)"] + state)]
    }

    private func stops(_ generation: Int) -> Notice {
        let words = "STATUS=generation \(generation) (PID \(self.process)) finishes what it has begun, and stops"
        return .init(lines: ["STOPPING=1", words, Self.extend(self.limits.stop)])
    }

    /// systemd goes on only after READY=1, which follows in every case: in `.committed`, `.failed` or `.refused`.
    private mutating func begin(_ event: UpgradeEvent, _ time: UInt64) -> [Notice] {
        let words =
            event.phase == .waiting
            ? "STATUS=generation \(event.generation + 1) waits for the process before this one to leave"
            : "STATUS=generation \(event.generation + 1) is being started"
        self.isReloading = true
        // MONOTONIC_USEC tells Type=notify-reload that this is the answer to its signal, and not to one before. Also where
        // it was said: that may have been too early for the manager to hear.
        return [.init(lines: ["RELOADING=1", "MONOTONIC_USEC=\(time)", words, Self.extend(Limits.more)])]
    }

    /// Where nothing was begun, a manager that asked for it waits for both all the same.
    private mutating func fail(_ event: UpgradeEvent, _ how: String, _ time: UInt64) -> [Notice] {
        let beginning: [Notice] =
            self.isReloading ? [] : [.init(lines: ["RELOADING=1", "MONOTONIC_USEC=\(time)"])]
        self.isReloading = false
        guard !self.isStopping else { return [] }
        // It went as it was meant to.
        let serves = self.serves(event.generation)
        if event.error?.code == .rehearsed {
            self.status = serves
        } else {
            let what = event.isRehearsal ? "rehearsal" : "upgrade"
            let reason = event.error.map { ": \($0.code): \($0.message)" } ?? ""
            self.status = Self.limited("\(serves); the last \(what) \(how)\(reason)")
        }
        return beginning + [.init(lines: ["READY=1", self.status])]
    }

    /// Another upgrade goes on, whose reload is the manager's as well if its signal came too late for that; or the request
    /// was one that no manager makes: its signal says nothing that could be invalid.
    private mutating func refuse(_ event: UpgradeEvent, _ time: UInt64) -> [Notice] {
        switch event.error?.code {
        case .upgradeRunning where self.isReloading: [.init(lines: ["RELOADING=1", "MONOTONIC_USEC=\(time)"])]
        case .upgradeRunning, .invalidConfiguration: []
        default: self.fail(event, "was refused", time)
        }
    }

    private func serves(_ generation: Int) -> String {
        "STATUS=generation \(generation) (PID \(self.process)) serves"
    }

    private func status(_ event: UpgradeEvent, _ what: String) -> Notice {
        .init(lines: ["STATUS=generation \(event.generation + 1) (PID \(event.peer)) \(what)"])
    }

    /// Of a line with words that came from elsewhere. systemd reads no datagram of more than 4096 bytes (PIPE_BUF), and what
    /// else is in that one matters more.
    private static let longestLine = 2048

    /// A line feed, and a carriage return, would begin another variable.
    private static func limited(_ line: String) -> String {
        let scalars = line.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }
        return String(String(String.UnicodeScalarView(scalars)).cut(to: Self.longestLine))
    }

    private static func extend(_ time: Duration) -> String {
        "EXTEND_TIMEOUT_USEC=\(Int64(((time + Limits.margin).inMilliseconds * 1000).rounded(.up)))"
    }
}
