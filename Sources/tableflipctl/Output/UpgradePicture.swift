// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// An upgrade as it happens: a line for each phase, and on a terminal a last line that moves.
struct UpgradePicture {
    private static let spinner = ["|", "/", "-", "\\"]

    let isLive: Bool
    private let columns: Int
    private let clock = ContinuousClock()
    private var began: ContinuousClock.Instant?
    /// The service's clock at the first event.
    private var firstTime: Int64?
    private var lastTime: Int64 = 0
    private var activity: String?
    private var step = 0
    private var probationEnds: ContinuousClock.Instant?
    private(set) var committed: ControlEvent?
    /// How far the connections are, in either process: the last of each.
    private var moving: ControlEvent?
    private var draining: ControlEvent?

    init(isLive: Bool, columns: Int = Surroundings.columns) {
        self.isLive = isLive
        self.columns = columns
    }

    /// How long to wait for the next event before ``tick()``.
    var pause: Duration? { self.isLive ? .milliseconds(100) : nil }

    mutating func show(_ event: ControlEvent) {
        if self.began == nil {
            self.began = self.clock.now
            self.firstTime = event.time
        }
        self.note(event)
        self.probationEnds =
            event.phase == "probation" ? self.clock.now + .milliseconds(event.total ?? 0) : nil
        // The new process's own story of what the old one has told already, and what only tells how far something is.
        let isPast = ["inherited", "serving"].contains(event.phase)
        if event.done != nil {
            self.showProgress(event)
        } else if !isPast {
            if event.phase == "predecessorLeft" { self.endDrain(at: event.time) }
            self.print(event)
        }
        self.activity = self.activity(after: event)
        self.tick()
    }

    private func activity(after event: ControlEvent) -> String? {
        let progress = [self.moving, self.draining].compactMap { $0?.left == 0 ? nil : $0?.activity }
        return ["moving", "draining"].contains(event.phase) && !progress.isEmpty
            ? progress.joined(separator: ", ") : event.activity
    }

    /// A progress is for those who watch it: a line tells its end, and that a drain takes time.
    private mutating func showProgress(_ event: ControlEvent) {
        switch event.phase {
        case "moving":
            self.moving = event
            if event.left == 0 { self.print(event) }
        case "draining":
            if self.draining == nil || event.left == 0 { self.print(event) }
            self.draining = event
        default: break
        }
    }

    /// What was still to be done when the old process ended.
    private mutating func endDrain(at time: Int64) {
        if let moving, moving.left > 0 { self.print(moving, at: time) }
        if let draining, draining.left > 0 { self.print(draining, "\(draining.left) left, and cut", at: time) }
    }

    /// Without showing it.
    mutating func note(_ event: ControlEvent) { if event.phase == "committed" { self.committed = event } }

    private mutating func print(_ event: ControlEvent, _ words: String? = nil, at moment: Int64? = nil) {
        let moment = moment ?? event.time
        // Two processes tell, and each knows of some things a moment before the other.
        self.lastTime = max(self.lastTime, moment - (self.firstTime ?? moment))
        let time = self.lastTime.asSeconds.padded(to: 10, right: true)
        let label = event.label.printable.padded(to: 17)
        let whole = (words ?? event.details).printable
        let details = self.isLive ? whole.cut(toWidth: max(10, self.columns - 31)) : whole
        self.erase()
        Surroundings.write("\(time)  \(event.colour?.paint(label) ?? label) \(details)\n")
    }

    /// Draws the line that moves.
    mutating func tick() {
        guard self.isLive, let activity, let began else { return self.erase() }
        self.step += 1
        let elapsed = began.duration(to: self.clock.now)
        let tenths = Int64((Double(elapsed.components.seconds) * 10 + Double(elapsed.components.attoseconds) / 1e17))
        let time = "\(tenths / 10).\(tenths % 10)   s".padded(to: 10, right: true)
        let left = self.probationEnds.map { max(.zero, self.clock.now.duration(to: $0)).components.seconds + 1 }
        let words = activity + (left.map { ", \($0) s left" } ?? "")
        let line = "\(time)  \(Self.spinner[self.step % 4]) \(words)".cut(toWidth: self.columns - 1)
        Surroundings.write("\r\(Colour.faint.paint(line))\u{1b}[K")
    }

    func erase() { if self.isLive { Surroundings.write("\r\u{1b}[K") } }
}
