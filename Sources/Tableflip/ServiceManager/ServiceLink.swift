// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem

/// Tells a service manager what this process does. Used on the engine's thread.
///
/// A manager that does not hear is a line in the log and nothing else: the service must not fail for it.
struct ServiceLink {
    private let socket: NotifySocket
    private var report: ServiceReport
    private let watchdog: Duration?
    private var hasFailed = false
    /// How long room in the manager's queue is waited for.
    var patience = Duration.seconds(1)
    /// When the manager wants to hear of this process next, though nothing may have happened; nil: it does not.
    private(set) var nextPing: Moment?

    /// How long an awaited notice holds the engine up, once in a process's life: the successor serves meanwhile. A
    /// manager that knows no `BARRIER=1` answers never.
    private static let awaitedAnswer = Duration.milliseconds(100)

    init(
        _ socket: NotifySocket, hasPredecessor: Bool, _ timings: Timings, watchdog: Watchdog? = .ofEnvironment()
    ) {
        self.socket = socket
        self.watchdog = watchdog.map { $0.timeout / 2 }
        self.report = ServiceReport(
            process: ProcessID.current, hasPredecessor: hasPredecessor,
            limits: .init(
                initialisation: timings.upgrade, stop: timings.drain + timings.hook
            )
        )
    }

    mutating func begin(_ now: Moment, _ logger: Logger) {
        for notice in self.report.beginning { self.send(notice, logger) }
        self.arm(now)
    }

    mutating func note(_ event: UpgradeEvent, isAlone: Bool, _ now: Moment, _ logger: Logger) {
        let notices = self.report.notices(for: event, isAlone: isAlone, time: now.microseconds)
        for notice in notices { self.send(notice, logger) }
        // Sooner, if there is more to say than before; never later, or a busy process would not come to it.
        let next = self.interval.map { now + $0 }
        self.nextPing = next.map { min($0, self.nextPing ?? $0) }
    }

    /// The manager has dealt with all that the predecessor said.
    mutating func noteLastWord(_ logger: Logger) {
        for notice in self.report.repetition() { self.send(notice, logger) }
    }

    /// Says that the engine goes on, and that the application says it is well.
    mutating func ping(_ now: Moment, isWell: Bool, _ logger: Logger) {
        guard let nextPing, nextPing <= now else { return }
        for notice in self.report.pulse(isWatched: self.watchdog != nil && isWell) { self.send(notice, logger) }
        self.arm(now)
    }

    /// Leaves duplicates with the manager, which passes them to the next process if this one dies; and takes what nobody
    /// wants any more out of its store (`FDSTORE=1`, sd_notify(3)). What is there already is not stored twice. It is said
    /// once, so it has patience of its own, however many there are.
    mutating func store(_ carried: [CarriedDescriptor], removing unwanted: [StoreName], _ logger: Logger) {
        let deadline = Moment.now + self.patience
        for name in unwanted.compactMap(\.text) {
            self.send(.init(lines: ["FDSTOREREMOVE=1", "FDNAME=\(name)"]), logger, until: deadline)
        }
        for descriptor in carried {
            guard let name = StoreName(descriptor.entry).text else {
                logger.warning("too long a name for the service manager's store: \(descriptor.name)")
                continue
            }
            // A state has been replaced, and has another file by now.
            if descriptor.kind == .state {
                self.send(.init(lines: ["FDSTOREREMOVE=1", "FDNAME=\(name)"]), logger, until: deadline)
            }
            guard let duplicate = try? descriptor.duplicate() else { continue }  // closed meanwhile: it is not wanted
            let notice = ServiceReport.Notice(lines: ["FDSTORE=1", "FDNAME=\(name)"])
            self.send(notice, logger, [duplicate.borrowed], until: deadline)
        }
    }

    private mutating func arm(_ now: Moment) { self.nextPing = self.interval.map { now + $0 } }

    private var interval: Duration? {
        guard self.report.isMain else { return nil }
        let reload = self.report.isReloading ? ServiceReport.pace : nil
        let repetition = self.report.isToRepeat ? ServiceReport.repetition : nil
        return [self.watchdog, reload, repetition].compactMap { $0 }.min()
    }

    /// `deadline`: nil where this notice is waited for as any other.
    private mutating func send(
        _ notice: ServiceReport.Notice, _ logger: Logger, _ descriptors: [CInt] = [], until deadline: Moment? = nil
    ) {
        // One that reads nothing holds the engine up once; and once more for what it must know: a manager that was only
        // busy would else take the service for ended when this process does.
        let usual = self.hasFailed && !notice.isAwaited ? .zero : self.patience
        let patience = deadline.map { max(.zero, Moment.now.duration(to: $0)) } ?? usual
        do throws(SystemCallError) {
            try self.socket.send(notice.lines, descriptors: descriptors, within: patience)
            self.hasFailed = false
            guard notice.isAwaited else { return }
            if try !self.socket.waitForManager(within: Self.awaitedAnswer) {
                logger.debug("the service manager did not say that it knows of the successor")
            }
        } catch {
            // Each of them would say the same.
            if !self.hasFailed {
                logger.warning(
                    "the service manager does not hear this process: \(error)",
                    metadata: ["socket": "\(self.socket.address)"]
                )
            }
            self.hasFailed = true
        }
    }
}
