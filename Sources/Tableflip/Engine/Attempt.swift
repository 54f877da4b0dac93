// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// One upgrade, seen from the predecessor: the successor's process, the channel to it, and how far things have come.
/// Lives on the engine's thread.
final class Attempt {
    let began: Moment
    let timings: Timings
    /// What the successor is told of its probation, if it is not its own affair.
    let terms: Message.Terms?
    /// It goes as far as ready, and back.
    let rehearsal: Rehearsal?
    /// What the successor has made anew, as far as it has told.
    var fresh: [InventoryEntry] = []
    /// Whoever asked for the upgrade, and whoever else wants to know how it ends. Emptied when they are told.
    private var replies: [Reply<UpgradeReport>]
    /// How to start it.
    let start: Upgrader.Successor
    /// What is handed over, in the order in which `ready` speaks of it. Nothing once the upgrade has failed.
    var inventory: [CarriedDescriptor] { self.offering.inventory }
    /// nil once it is closed.
    var channel: ChannelSocket?
    /// Nothing more is to be read from it.
    var channelIsOver: Bool { self.channel?.isOver ?? true }
    /// The successor's end of the channel, until it has been given away.
    var theirs: OwnedDescriptor?
    var process: SpawnedProcess?
    var saidHello = false
    var saidReady = false
    /// The process that said hello is not our child: a shell may stand between.
    var isWrapped = false
    /// Tells of the end of such a process.
    var life: OwnedDescriptor?
    /// By the kernel's word; our child's id until it has said hello.
    var successor: CInt = 0
    var childIsGone = false
    var deathIsTold = false
    var ending = SpawnedProcess.Ending.unknown

    /// The inventory as it is sent.
    var offering: Offering
    /// The final states, once this upgrade's pause has come to them.
    var collected: Latch<[CarriedDescriptor]>?
    /// Sent before go, and kept until they have arrived.
    var finalStates: [CarriedDescriptor] = []
    var finalCount = 0
    /// As the successor said at ready.
    var probation = Duration.zero

    /// Go was said: a failure from here on is a rollback.
    var wentLive = false
    /// Whether the successor does, and how it stands with that while it serves and is not the owner yet.
    var answersPings = false
    var pulse: Pulse?
    /// Whether the successor wants to know how far the drain is, and when it is told while connections may still move.
    var hearsDraining = false
    var drainReport: DrainReport?
    /// When the way home began, and how long after it the readers read again.
    var failedAt: Moment?
    var resumedAfter: Duration?

    var phases: [(UpgradeEvent.Phase, Duration)] = []

    /// Listeners whose connections stay here: the successor did not ask for them, or has nobody who would serve those.
    var kept: Set<String> = []
    /// Connections that may move, are on their way (in the order sent), and have arrived.
    var announced = 0
    var moving: [(connection: LiveDescriptor, departure: Departure)] = []
    var moved = 0
    /// How many of the latter are clients of the control socket.
    var controlClients = 0
    /// Of those on their way, the first so many have left this process.
    var sent: Int { max(0, self.moving.count - (self.channel?.unsentDescriptors ?? 0)) }
    /// The successor's last word of how many it has, of all that were sent; it may have read more than it acknowledged.
    var taken: Int?

    init(
        _ request: UpgradeRequest, began: Moment, start: Upgrader.Successor, timings: Timings,
        inventory: [CarriedDescriptor], channel: ChannelSocket, capabilities: Capabilities
    ) {
        self.replies = [request.reply]
        self.rehearsal = request.rehearsal
        self.terms = request.probation.map {
            Message.Terms(probationMilliseconds: UInt64($0.inMilliseconds.rounded(.up)))
        }
        self.began = began
        self.timings = timings
        self.start = start
        self.offering = Offering(inventory, capabilities)
        self.channel = channel
    }

    /// Whoever asks is told how the upgrade ends.
    func follow(_ reply: @escaping Reply<UpgradeReport>) { self.replies.append(reply) }

    func answer(_ result: Result<UpgradeReport, UpgradeError>) {
        let replies = self.replies
        self.replies = []
        for reply in replies { reply(result) }
    }

    /// Whether everything that was this successor has ended.
    var isDead: Bool { self.childIsGone && self.lifeNumber == nil }

    /// Whether the process that said hello has ended. What stands around it may go on, and serves nothing.
    var servesNothing: Bool { self.isWrapped ? self.lifeNumber == nil : self.childIsGone }

    var lifeNumber: CInt? { self.life.borrowed }
}
