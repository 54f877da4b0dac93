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
    private var activity: String?
    private var step = 0
    private var probationEnds: ContinuousClock.Instant?
    private(set) var committed: ControlEvent?

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
        self.activity = event.activity
        self.probationEnds =
            event.phase == "probation" ? self.clock.now + .milliseconds(event.total ?? 0) : nil
        // The new process's own story of what the old one has told already, and what only tells how far something is.
        let isPast = ["inherited", "serving"].contains(event.phase)
        // Until its end, a progress is only for those who watch it.
        let isProgress = event.done != nil
        if !isPast, !isProgress || event.done == event.total && event.phase == "moving" { self.print(event) }
        self.tick()
    }

    /// Without showing it.
    mutating func note(_ event: ControlEvent) { if event.phase == "committed" { self.committed = event } }

    private func print(_ event: ControlEvent) {
        let time = max(0, event.time - (self.firstTime ?? event.time)).asSeconds.padded(to: 10, right: true)
        let label = event.label.padded(to: 17)
        let details = event.details.cut(to: max(10, self.columns - 31))
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
        let line = "\(time)  \(Self.spinner[self.step % 4]) \(words)".cut(to: self.columns - 1)
        Surroundings.write("\r\(Colour.faint.paint(line))\u{1b}[K")
    }

    func erase() { if self.isLive { Surroundings.write("\r\u{1b}[K") } }
}
