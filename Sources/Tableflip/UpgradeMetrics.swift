// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CoreMetrics
import Synchronization

/// What an upgrader tells swift-metrics; `docs/observability.md` has the names. It is fed with the events, so it cannot
/// tell anything else than they do.
///
/// A metric is made when there is something to record, and kept: a process that starts makes next to none.
final class UpgradeMetrics: Sendable {
    private enum Outcome: String {
        case committed
        case failed
        case rolledBack
        case refused
    }

    private struct State {
        var counters: [String: Counter] = [:]
        var timers: [UpgradeEvent.Phase: Timer] = [:]
        var generation: Gauge?
        /// When the last phase that has a time was.
        var reached = Duration.zero
    }

    private let factory: any MetricsFactory
    private let state = Mutex(State())
    /// Somebody collects what is recorded. A process that starts has no time for it else.
    private let isHeard: Bool

    init(factory: any MetricsFactory) {
        self.factory = factory
        self.isHeard = !(factory is NOOPMetricsHandler)
    }

    func record(_ event: UpgradeEvent) {
        guard self.isHeard, !event.isRehearsal else { return }
        switch event.phase {
        case .requested: self.begin(event)
        case .spawned, .handedOver, .ready, .go, .committed, .inherited, .serving, .predecessorLeft: self.pass(event)
        case .owner:
            self.pass(event)
            self.own(event.generation)
        case .failed: self.count(.failed)
        case .rolledBack: self.count(.rolledBack)
        case .refused: self.count(.refused)
        default: break
        }
    }

    /// Live connections at the end of a process: those that the successor has taken, that ended by themselves, and that
    /// the drain time-out ended.
    func connections(moved: Int = 0, drained: Int = 0, cut: Int = 0) {
        for (how, count) in [("moved", moved), ("drained", drained), ("cut", cut)] where count > 0 {
            self.counter("tableflip.connections", "how", how).increment(by: count)
        }
    }

    private func begin(_ event: UpgradeEvent) {
        self.state.withLock { $0.reached = event.elapsed }
    }

    private func pass(_ event: UpgradeEvent) {
        let (timer, duration) = self.state.withLock { state in
            let duration = event.elapsed - state.reached
            state.reached = event.elapsed
            let timer =
                state.timers[event.phase]
                ?? Timer(
                    label: "tableflip.phase.duration", dimensions: [("phase", event.phase.description)],
                    factory: self.factory)
            state.timers[event.phase] = timer
            return (timer, duration)
        }
        let (seconds, attoseconds) = duration.components
        timer.recordNanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }

    private func own(_ generation: Int) {
        let gauge = self.state.withLock { state in
            let gauge = state.generation ?? Gauge(label: "tableflip.generation", factory: self.factory)
            state.generation = gauge
            return gauge
        }
        gauge.record(generation)
        // Told by the process that stays: the other one leaves before many a system asks it for what it has counted.
        if generation > 1 { self.count(.committed) }
    }

    private func count(_ outcome: Outcome) {
        self.counter("tableflip.upgrades", "outcome", outcome.rawValue).increment()
    }

    private func counter(_ label: String, _ dimension: String, _ value: String) -> Counter {
        self.state.withLock { state in
            let counter =
                state.counters[value] ?? Counter(label: label, dimensions: [(dimension, value)], factory: self.factory)
            state.counters[value] = counter
            return counter
        }
    }
}
