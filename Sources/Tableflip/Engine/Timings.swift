// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// How long is waited for what the configuration says nothing of.
package struct Patience: Hashable, Sendable {
    /// For what takes microseconds unless something is wrong.
    package var quick = Duration.seconds(1)
    package var generous = Duration.seconds(5)
    /// For the readers and the hooks of another process: the longest that can be configured.
    package var pauses = Upgrader.Configuration.longestPauseTimeout
    package var hooks = Upgrader.Configuration.longestHookTimeout
    /// For readers that are busy with what they were asked before. They have been told that it is not wanted any more.
    package var overtaking = Duration.milliseconds(500)
    /// For a client of the control socket that has not said what it wants, or does not read what it was told.
    package var clients = Duration.seconds(5)
    /// How often a successor that serves is looked at in vain before it counts as one that hangs. An answer takes
    /// microseconds, but a machine can be busy.
    package var looks = 12

    package init() {}
}

/// How long each deadline of the two machines is. The successor's are longer than everything its predecessor may need
/// at that point, so that of two live processes the predecessor decides.
struct Timings: Sendable {
    var upgrade: Duration
    var drain: Duration
    var pause: Duration
    var hook: Duration

    let patience: Patience
    private var quick: Duration { self.patience.quick }
    private var generous: Duration { self.patience.generous }
    /// For readers that come when no machine waits for them.
    var latecomers: Duration { self.generous }
    /// Added up: a product with a number of any type is looked up at run time, while the other process waits.
    private var veryGenerous: Duration { self.generous + self.generous }

    init(_ configuration: Upgrader.Configuration, _ patience: Patience = Patience()) {
        self.patience = patience
        self.upgrade = configuration.upgradeTimeout
        self.drain = configuration.drainTimeout
        self.pause = configuration.pauseTimeout
        self.hook = configuration.hookTimeout
    }

    /// How long a predecessor takes to leave that has nothing left to finish.
    var farewell: Duration { self.quick }

    /// How long readers may be busy with what is not wanted any more before they are asked for something else all the same.
    /// There must be time left for that.
    var overtaking: Duration { min(self.patience.overtaking, self.pause / 2) }

    /// The same, with another time for a successor to be ready in; nil: as it is.
    func allowing(_ upgrade: Duration?) -> Timings {
        var timings = self
        if let upgrade { timings.upgrade = upgrade }
        return timings
    }

    /// `probation` is how long the successor's probation lasts, as it said at ready.
    func duration(of deadline: PredecessorMachine.Deadline, probation: Duration) -> Duration {
        switch deadline {
        case .initialisation: self.upgrade
        case .pause: self.pause
        case .probation(.checked): probation + self.quick
        case .probation: probation
        // Time for hooks that are cancelled in the end to notice.
        case .ownership: self.hook + self.generous
        // The successor's hooks have its own time, which is not known here.
        case .commit: self.patience.hooks + self.veryGenerous
        case .dismissal: self.quick
        // So have its readers. One that hangs is known by its pulse before.
        case .recall: self.patience.pauses + self.quick
        case .kill: self.generous
        case .resume: self.generous
        case .departure, .drain: self.drain
        }
    }

    /// `probation` is how long this process's probation lasts.
    func duration(of deadline: SuccessorMachine.Deadline, probation: Duration) -> Duration {
        switch deadline {
        case .handshake: self.veryGenerous
        case .initialisation: self.upgrade
        // The predecessor's readers and hooks have its own time, which is not known here.
        case .go: self.patience.pauses + self.veryGenerous
        case .resume: self.generous
        case .commit:
            probation + self.patience.pauses + self.patience.hooks + self.veryGenerous + self.veryGenerous
        case .ownership: self.hook + self.generous
        case .severance: self.quick
        case .pause: self.pause
        case .bye: self.veryGenerous
        case .drain: self.drain
        }
    }
}
