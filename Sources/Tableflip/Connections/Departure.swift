// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Connections that were sent together, and that somebody waits for together. Used on the engine's thread.
final class Departure {
    private var waitingFor: Int
    private var failure: UpgradeError?
    private let reply: Reply<Void>

    init(_ count: Int, reply: @escaping Reply<Void>) {
        self.waitingFor = count
        self.reply = reply
    }

    /// What became of one of them. The last one answers, with the first failure if there was any.
    func ended(_ failure: UpgradeError? = nil) {
        self.failure = self.failure ?? failure
        self.waitingFor -= 1
        if self.waitingFor == 0 { self.reply(self.failure.map { .failure($0) } ?? .success(())) }
    }
}
