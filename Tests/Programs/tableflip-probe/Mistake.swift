// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import Tableflip

/// A call that makes no sense at its moment. What the library says of it is told.
enum Mistake: String {
    case upgradeBeforeReady = "upgrade-before-ready"
    case secondUpgrader = "second-upgrader"
    case readyTwice = "ready-twice"
    case listenAfterReady = "listen-after-ready"

    func make(_ upgrader: Upgrader, isReady: Bool) async {
        do {
            switch self {
            case .upgradeBeforeReady where !isReady: try await upgrader.upgrade()
            case .secondUpgrader where !isReady: _ = try Upgrader(logger: Logger(label: "second"))
            case .readyTwice where isReady: try await upgrader.ready()
            case .listenAfterReady where isReady: _ = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
            default: return
            }
            Probe.say(upgrader.generation, "mistake none")
        } catch {
            Probe.say(upgrader.generation, "mistake \(error)")
        }
    }
}
