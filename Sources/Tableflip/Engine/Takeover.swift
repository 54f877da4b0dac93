// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// The process before this one, seen from its successor: the channel to it, and how far taking over has come. A first
/// process has nobody before it. Lives on the engine's thread.
final class Takeover {
    /// nil where there is no predecessor, and once it is closed.
    var channel: ChannelSocket?
    /// As its hello says, and nothing is signalled on the strength of that; 0 before, and when it has left.
    var predecessor: CInt = 0
    /// Tells of its end.
    var life: OwnedDescriptor?
    /// It wants to know what this process makes anew.
    var hearsFresh = false

    /// How much of the inventory is here, and how much of that it knows of.
    var received = 0
    var acknowledged = 0
    /// The same of the final states.
    var receivedFinal = 0
    /// Whose files the Unix paths in the inventory are, by index. nil: it does not say, and once all is here.
    var paths: [UInt32: Message.Paths.File]?
    var unclaimedPaths: [UnixPath] = []

    /// Whoever called `ready()`, until that is answered.
    var readyReply: Reply<Void>?
    /// The readers have been asked to read, and have not said that they cannot.
    var hasResumed = false
    /// Why this process does not take over.
    var failure: UpgradeError?

    /// While this process serves and is not the owner yet.
    var probation: Upgrader.Configuration.Probation
    var check: Engine.Check?

    /// Connections that may come, have come, and have been adopted.
    var announced = 0
    var connections = 0
    var arrivals = ArrivalOrder()
    /// How many of those that have come no reader took: they are closed here.
    var closed = 0
    /// How many of those that have come are clients of the control socket.
    var controlClients = 0
    /// What the predecessor said that it still serves, and the most that it ever said.
    var left = 0
    var toDrain = 0

    init(_ probation: Upgrader.Configuration.Probation) { self.probation = probation }

    var lifeNumber: CInt? { self.life.borrowed }
}
