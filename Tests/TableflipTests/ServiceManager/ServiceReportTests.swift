// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@testable import Tableflip

@Suite struct ServiceReportTests {
    private static let limits = ServiceReport.Limits(initialisation: .seconds(60), stop: .seconds(30))
    private var first = ServiceReport(process: 70, hasPredecessor: false, limits: limits)
    private var successor = ServiceReport(process: 71, hasPredecessor: true, limits: limits)

    private static func event(
        _ phase: UpgradeEvent.Phase, generation: Int = 1, _ error: UpgradeError? = nil
    ) -> UpgradeEvent {
        UpgradeEvent(phase: phase, generation: generation, peer: 71, elapsed: .zero, error: error)
    }

    private static func lines(
        _ report: inout ServiceReport, _ event: UpgradeEvent, isAlone: Bool = false
    ) -> [[String]] { report.notices(for: event, isAlone: isAlone, time: 5).map(\.lines) }

    @Test mutating func `a first process asks for its time, and says when it serves`() {
        #expect(
            self.first.beginning.map(\.lines) == [["STATUS=generation 1 initialises", "EXTEND_TIMEOUT_USEC=65000000"]])
        #expect(Self.lines(&self.first, Self.event(.serving)) == [])
        #expect(
            Self.lines(&self.first, Self.event(.owner)) == [["READY=1", "STATUS=generation 1 (PID 70) serves"]])
    }

    @Test mutating func `an upgrade begins with RELOADING, and ends with the successor's name and READY in one`() {
        let begun = Self.lines(&self.first, Self.event(.requested))
        #expect(begun.count == 1 && begun[0].starts(with: ["RELOADING=1", "MONOTONIC_USEC=5"]))
        #expect(self.first.isReloading)
        for phase in [UpgradeEvent.Phase.spawned, .handedOver, .ready, .go, .probation] {
            let lines = Self.lines(&self.first, Self.event(phase))
            #expect(lines.count == 1 && lines[0].count == 1 && lines[0][0].hasPrefix("STATUS=generation 2 (PID 71)"))
        }
        let end = self.first.notices(for: Self.event(.committed), isAlone: false, time: 5)
        #expect(end.count == 1 && end[0].isAwaited)
        #expect(end[0].lines.starts(with: ["MAINPID=71", "READY=1"]))
        // From here on the manager hears the successor, and would complain of this process.
        #expect(!self.first.isMain)
        for phase in [UpgradeEvent.Phase.stopping, .refused, .drainOverran] {
            #expect(Self.lines(&self.first, Self.event(phase)) == [])
        }
    }

    @Test(arguments: [UpgradeEvent.Phase.failed, .rolledBack])
    mutating func `READY follows RELOADING after a failure, with the reason in one line`(_ phase: UpgradeEvent.Phase) {
        _ = Self.lines(&self.first, Self.event(.requested))
        let error = UpgradeError(.successorExited, "it said:\nno")
        #expect(
            Self.lines(&self.first, Self.event(phase, error)) == [
                [
                    "READY=1",
                    "STATUS=generation 1 (PID 70) serves; the last upgrade failed: successorExited: it said: no",
                ]
            ])
        #expect(!self.first.isReloading && self.first.isMain)
    }

    @Test mutating func `whatever the reason, it begins no line of its own, and READY is not too long to be read`() {
        let words = "a\r\nSTOPPING=1\rSTOPPING=1\u{0}\u{85}b" + String(repeating: "ä", count: 5000)
        let error = UpgradeError(.successorExited, words)
        let lines = Self.lines(&self.first, Self.event(.failed, error))
        let status = lines.last?.last ?? ""
        #expect(lines.last?.count == 2 && lines.last?.first == "READY=1")
        #expect(status.contains("successorExited: a  STOPPING=1 STOPPING=1  bää"))
        #expect(status.hasSuffix("ä") && (2000...2100).contains(status.utf8.count))
    }

    @Test mutating func `a rehearsal is told as such, and only where it did not go as it should`() {
        let statuses = [UpgradeError.Code.rehearsed, .successorExited].map { code in
            var event = Self.event(.failed, UpgradeError(code, "it ended"))
            event.isRehearsal = true
            _ = Self.lines(&self.first, Self.event(.requested))
            return Self.lines(&self.first, event)
        }
        #expect(
            statuses == [
                [["READY=1", "STATUS=generation 1 (PID 70) serves"]],
                [
                    [
                        "READY=1",
                        "STATUS=generation 1 (PID 70) serves; the last rehearsal failed: successorExited: it ended",
                    ]
                ],
            ])
        #expect(!self.first.isReloading)
    }

    @Test mutating func `a refusal is a reload that begins and ends`() {
        let lines = Self.lines(&self.first, Self.event(.refused, UpgradeError(.predecessorAlive, "it drains")))
        #expect(lines.count == 2 && lines[0] == ["RELOADING=1", "MONOTONIC_USEC=5"] && lines[1][0] == "READY=1")
    }

    @Test(arguments: [UpgradeEvent.Phase.failed, .rolledBack])
    mutating func `a failure of what was not told to begin is a reload that begins and ends`(
        _ phase: UpgradeEvent.Phase
    ) {
        let lines = Self.lines(&self.first, Self.event(phase, UpgradeError(.system, "no descriptor is left")))
        #expect(lines.count == 2 && lines[0] == ["RELOADING=1", "MONOTONIC_USEC=5"] && lines[1][0] == "READY=1")
        #expect(!self.first.isReloading)
    }

    /// A manager whose signal came in between waits for a word that is newer than that.
    @Test(arguments: [
        (UpgradeError.Code.upgradeRunning, [["RELOADING=1", "MONOTONIC_USEC=5"]]), (.invalidConfiguration, []),
    ])
    mutating func `a refusal of another request does not end an upgrade's reload`(
        _ code: UpgradeError.Code, _ lines: [[String]]
    ) {
        #expect(Self.lines(&self.first, Self.event(.refused, UpgradeError(code, "no"))) == [])
        _ = Self.lines(&self.first, Self.event(.requested))
        #expect(Self.lines(&self.first, Self.event(.refused, UpgradeError(code, "no"))) == lines)
        #expect(self.first.isReloading)
    }

    @Test mutating func `an upgrade that waited says again that it reloads`() {
        #expect(Self.lines(&self.first, Self.event(.waiting))[0][0] == "RELOADING=1")
        #expect(Self.lines(&self.first, Self.event(.requested))[0].starts(with: ["RELOADING=1", "MONOTONIC_USEC=5"]))
    }

    @Test mutating func `a stop is said once, and a failure that it causes does not take it back`() {
        _ = Self.lines(&self.first, Self.event(.requested))
        let lines = Self.lines(&self.first, Self.event(.stopping))
        #expect(lines.count == 1 && lines[0][0] == "STOPPING=1" && lines[0][2] == "EXTEND_TIMEOUT_USEC=35000000")
        #expect(Self.lines(&self.first, Self.event(.failed, UpgradeError(.stopping, "it stops"))) == [])
        #expect(Self.lines(&self.first, Self.event(.stopping)) == [])
    }

    @Test mutating func `a successor is silent until its predecessor has named it`() {
        #expect(self.successor.beginning == [] && !self.successor.isMain)
        for phase in [UpgradeEvent.Phase.inherited, .serving, .handedBack] {
            #expect(Self.lines(&self.successor, Self.event(phase, generation: 2)) == [])
        }
        #expect(self.successor.pulse(isWatched: true) == [])
        #expect(Self.lines(&self.successor, Self.event(.owner, generation: 2)) == [])
        #expect(self.successor.isMain)
        #expect(self.successor.isToRepeat)
        #expect(self.successor.repetition().map(\.lines) == [Self.inCharge])
        #expect(self.successor.repetition() == [])
        #expect(Self.lines(&self.successor, Self.event(.predecessorLeft, generation: 2)) == [Self.inCharge])
        // The manager may look at who has ended only afterwards.
        #expect(self.successor.pulse(isWatched: false).map(\.lines) == [Self.inCharge])
        #expect(self.successor.pulse(isWatched: false) == [] && !self.successor.isToRepeat)
    }

    private static let inCharge = ["MAINPID=71", "READY=1", "STATUS=generation 2 (PID 71) serves"]

    @Test mutating func `a successor does not end its own reload by the words for its predecessor's`() {
        _ = Self.lines(&self.successor, Self.event(.owner, generation: 2))
        #expect(Self.lines(&self.successor, Self.event(.waiting, generation: 2))[0][0] == "RELOADING=1")
        for _ in 0..<2 {
            #expect(Self.lines(&self.successor, Self.event(.predecessorLeft, generation: 2)) == [["MAINPID=71"]])
            #expect(self.successor.repetition().map(\.lines) == [["MAINPID=71"]])
        }
    }

    @Test mutating func `what is repeated is what was said last`() {
        _ = Self.lines(&self.successor, Self.event(.owner, generation: 2))
        _ = Self.lines(&self.successor, Self.event(.predecessorLeft, generation: 2))
        _ = Self.lines(&self.successor, Self.event(.requested, generation: 2))
        let failure = UpgradeError(.successorKilled, "it died")
        let said = Self.lines(&self.successor, Self.event(.rolledBack, generation: 2, failure))
        #expect(said.last?.last?.hasSuffix("serves; the last upgrade failed: successorKilled: it died") == true)
        #expect(self.successor.pulse(isWatched: false).map(\.lines) == [["MAINPID=71"] + (said.last ?? [])])
    }

    @Test(arguments: [false, true])
    mutating func `a stop that comes on the way is said when somebody hears it, and nothing takes it back`(
        _ comesFirst: Bool
    ) {
        if comesFirst { #expect(Self.lines(&self.successor, Self.event(.stopping, generation: 2)) == []) }
        #expect(Self.lines(&self.successor, Self.event(.owner, generation: 2)) == [])
        if !comesFirst { #expect(Self.lines(&self.successor, Self.event(.stopping, generation: 2)).count == 1) }
        #expect(self.successor.repetition().map { $0.lines[...1] } == [["MAINPID=71", "STOPPING=1"]])
        #expect(Self.lines(&self.successor, Self.event(.predecessorLeft, generation: 2)) == [])
        #expect(self.successor.pulse(isWatched: true).map(\.lines) == [["WATCHDOG=1"]])
    }

    @Test mutating func `a first process that is told to stop does not say that it is ready`() {
        #expect(Self.lines(&self.first, Self.event(.stopping))[0][0] == "STOPPING=1")
        #expect(Self.lines(&self.first, Self.event(.owner)) == [])
    }

    @Test mutating func `a successor whose predecessor died names itself`() {
        #expect(
            Self.lines(&self.successor, Self.event(.owner, generation: 2), isAlone: true) == [
                Self.inCharge
            ])
    }

    @Test mutating func `the watchdog hears of a process that is well, and the manager of a reload that goes on`() {
        #expect(self.first.pulse(isWatched: false) == [])
        #expect(self.first.pulse(isWatched: true).map(\.lines) == [["WATCHDOG=1"]])
        _ = Self.lines(&self.first, Self.event(.requested))
        #expect(self.first.pulse(isWatched: false).map(\.lines) == [["EXTEND_TIMEOUT_USEC=30000000"]])
    }
}
