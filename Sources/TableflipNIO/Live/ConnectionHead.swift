// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
import NIOPosix
import Tableflip
import TableflipSystem

/// First in the pipeline of a live connection: the only place where unread bytes wait, and the place at which the
/// connection leaves the process.
///
/// What NIO has read and a decoder has swallowed could not move, and a decoder swallows all that it is given. So it is
/// given one message at a time, as the connection's protocol says, and nothing while an answer is owed.
final class ConnectionHead: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = IOData
    typealias OutboundOut = IOData

    /// More than this could not move anyway (`WireLimit.connectionState`).
    private static let mostHeld = 1 << 18

    let channel: any Channel
    let resumed: LiveConnection.Resumed?
    /// From a successor that is not there any more: it ends here.
    let isTakenBack: Bool
    private let connections: LoopConnections
    /// Where it stands among them; nil when it does not.
    var index: Int?
    /// It stands in the queue of those that move first.
    var isQueued = false

    private var context: ChannelHandlerContext?
    private var liveProtocol: (any LiveProtocol)?
    private(set) var held: ByteBuffer?
    private var isDelivering = false
    /// What waits cannot be used yet, so nothing more is read.
    private var isBlocked = false
    /// A read was held back meanwhile.
    private var wantsRead = false
    private(set) var sawEnd = false
    /// The end of the input waits behind what is held.
    private var holdsEnd = false
    /// One protocol has gone and the next is not known yet.
    private var isBetweenProtocols = false
    /// Bytes went down that no protocol has counted.
    private var hasPassed = false
    /// It will not move, whatever happens, and what comes goes down as it comes.
    private(set) var stays = false
    /// Its application lets it go nowhere; its messages are still counted.
    private var isKept = false
    /// Its protocol has said its last word, and waits for whoever closes it: it will not be at rest again.
    private(set) var isOver = false
    /// It moves next: nothing more is served here.
    private var isFrozen = false
    private var awaitsFlush = false
    private var hasFlushed = false
    /// It writes though nothing comes in, so that its output may never be empty: it is served until it is.
    private var writesByItself = false
    /// It ends when it is at rest.
    private var isEnding = false
    /// What the protocol puts off while an answer is owed; asked once.
    var whenSettled: (() -> Void)?
    /// How often it may still be read before that.
    private var lateReads = 16
    /// Something was written, by whatever protocol.
    private var hasWritten = false
    /// What a connection without a protocol ends by.
    private lazy var quiescing = Quiescing(self.channel)
    private var farewell = Farewell.none
    private(set) var isGone = false

    private enum Farewell {
        case none
        /// Nothing of it is under way: it may be closed on the spot.
        case atRest
        /// It closes behind what is still unsent; what comes is thrown away.
        case flushing
        /// Our output has ended, and the peer's may follow; what comes is thrown away.
        case lingering
    }

    /// How long a peer that has been sent everything may take to close too.
    private static let lingerTime = TimeAmount.seconds(2)

    init(
        channel: any Channel, connections: LoopConnections, unread: [UInt8], resumed: LiveConnection.Resumed?,
        isTakenBack: Bool
    ) {
        self.channel = channel
        self.connections = connections
        self.resumed = resumed
        self.isTakenBack = isTakenBack
        if !unread.isEmpty { self.held = ByteBuffer(bytes: unread) }
    }

    var isLeaving: Bool { self.connections.isLeaving }
    /// Nobody else takes it: it ends here, and its next answer may say so.
    var endsHere: Bool { self.isTakenBack || self.connections.isFinishing }

    /// It may come to a point at which it moves.
    var couldMove: Bool {
        self.liveProtocol != nil && !self.isTakenBack && !self.stays && !self.isKept && !self.isOver && !self.sawEnd
            && !self.isGone
    }

    /// Something waits that the pipeline has not been given.
    var isHolding: Bool { self.held != nil }

    private var isAtRest: Bool { !self.isBetweenProtocols && self.liveProtocol?.isAtRest ?? false }
    private var canMove: Bool { self.couldMove && self.isAtRest }

    // MARK: As a handler

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.connections.join(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.end()
        self.context = nil
        self.liveProtocol = nil
        self.whenSettled = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        context.fireChannelActive()
        if self.held != nil {
            self.pump()
            context.fireChannelReadComplete()
        }
        self.connections.greet(self)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        self.hasWritten = true
        context.write(data, promise: promise)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.end()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isClosing else { return }
        var bytes = self.unwrapInboundIn(data)
        if self.held != nil {
            self.held?.writeBuffer(&bytes)
        } else if self.isWhole(bytes) {
            // As most often: one message, as it came.
            self.isDelivering = true
            self.deliver(bytes, context)
            self.isDelivering = false
            return self.settle()
        } else {
            self.held = bytes
        }
        self.pump()
    }

    private func isWhole(_ bytes: ByteBuffer) -> Bool {
        guard !self.isDelivering, !self.isFrozen, !self.isBetweenProtocols else { return false }
        guard let liveProtocol, !self.stays else { return true }
        return liveProtocol.portion(of: bytes) == .bytes(bytes.readableBytes)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event as? ChannelEvent == .inputClosed {
            self.sawEnd = true
            if self.farewell == .lingering { return context.close(promise: nil) }
            guard self.farewell != .flushing else { return }
            // Nobody wants it any more.
            if self.isOver { self.held = nil }
            if self.held != nil {
                // After the messages before it.
                self.holdsEnd = true
                return self.pump()
            }
            self.greetLater()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func read(context: ChannelHandlerContext) {
        if self.isFrozen || self.isBlocked && self.held != nil {
            self.wantsRead = true
        } else {
            context.read()
        }
    }

    private func end() {
        guard !self.isGone else { return }
        self.isGone = true
        self.connections.leave(self, as: .ended)
    }

    // MARK: What waits

    /// Gives the pipeline what may go down. Never from within itself: a decoder that is given bytes from inside its own
    /// output leaves them lying until the network brings more (`ByteToMessageHandler`, NIOCore/Codec.swift).
    private func pump() {
        // Before it is active its pipeline may not be whole: what decodes is there, and who answers is not.
        guard !self.isDelivering, !self.isGone, self.channel.isActive, let context else { return }
        self.isDelivering = true
        self.isBlocked = self.isFrozen
        while let bytes = self.held, let count = self.portion(of: bytes) {
            var rest = bytes
            guard let next = rest.readSlice(length: count) else { break }
            self.held = rest.readableBytes > 0 ? rest : nil
            self.deliver(next, context)
        }
        self.isDelivering = false
        self.settle()
    }

    /// How much may go down; nil: nothing now.
    private func portion(of bytes: ByteBuffer) -> Int? {
        guard !self.isGone, !self.isFrozen else { return nil }
        guard !self.isBetweenProtocols else {
            self.isBlocked = true
            return nil
        }
        guard let liveProtocol, !self.stays else { return bytes.readableBytes }
        switch liveProtocol.portion(of: bytes) {
        case .bytes(let count): return min(max(count, 1), bytes.readableBytes)
        case .afterAnswer:
            self.isBlocked = true
            return nil
        case .incomplete:
            guard self.holdsEnd || bytes.readableBytes > Self.mostHeld else { return nil }
            self.stays = true
            liveProtocol.giveUp()
            self.greetLater()
            return bytes.readableBytes
        }
    }

    private func deliver(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        let before = self.liveProtocol
        context.fireChannelRead(self.wrapInboundOut(bytes))
        guard let before, !self.stays else {
            self.hasPassed = true
            return
        }
        // What these bytes were may have changed the protocol.
        if before === self.liveProtocol { before.delivered(bytes) }
        if self.connections.isMoving, self.canMove { self.freeze() }
    }

    private func settle() {
        guard !self.isGone, let context else { return }
        if self.held == nil, self.holdsEnd {
            self.holdsEnd = false
            self.greetLater()
            context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        }
        if self.connections.isMoving, self.canMove { self.connections.enqueueFirst(self) }
        if self.isEnding { self.endIfAtRest() }
        if self.wantsRead, !self.isFrozen, self.held == nil || !self.isBlocked {
            self.wantsRead = false
            context.read()
        }
    }

    private func pumpLater() { self.connections.afterThis { self.pumpByItself() } }

    /// Not from within a read: the handlers are told that this one is complete.
    private func pumpByItself() {
        guard self.channel.isActive else { return }
        self.pump()
        if !self.isGone { self.context?.fireChannelReadComplete() }
    }

    /// It cannot move any more. Where others do, nobody else would tell it to end.
    private func greetLater() {
        guard self.connections.isMoving else { return }
        self.connections.afterThis { self.connections.greet(self) }
    }

    // MARK: What the protocol says

    func change(to liveProtocol: any LiveProtocol) {
        self.liveProtocol = liveProtocol
        self.isBetweenProtocols = false
        // A protocol that has not seen every byte cannot tell where a message ends.
        if self.hasPassed { self.stays = true }
        if self.held != nil || self.wantsRead { self.pumpLater() }
        self.connections.greet(self)
    }

    /// The protocol that drains the connection, which stays.
    func drain(by liveProtocol: any LiveProtocol) {
        self.stays = true
        self.change(to: liveProtocol)
    }

    /// Nobody can tell where its messages end: it does not move.
    func stay() { self.stays = true }

    /// What comes from here on is another protocol's; until the end of this turn of the loop it may say so.
    func resignProtocol() {
        self.liveProtocol = nil
        self.isBetweenProtocols = true
        self.connections.afterThis {
            guard self.isBetweenProtocols else { return }
            self.isBetweenProtocols = false
            self.pumpByItself()
            self.connections.greet(self)
        }
    }

    func saidLastWord() {
        self.isOver = true
        if self.holdsEnd {
            // The end does not wait for what nobody wants any more.
            self.held = nil
            self.pumpLater()
        }
        self.settled()
    }

    func settled() {
        guard !self.isGone else { return }
        self.whenSettled.take()?()
        // Whoever delivers asks when all has been delivered.
        guard !self.isDelivering else { return }
        if self.connections.isMoving, self.canMove {
            self.freeze()
            self.connections.enqueueFirst(self)
        } else if self.held != nil || self.wantsRead || self.isEnding {
            self.pumpLater()
        }
    }

    // MARK: Leaving

    private func freeze() {
        guard !self.writesByItself else { return }
        self.isFrozen = true
        self.isBlocked = true
    }

    /// It does not move after all.
    func thaw() {
        guard self.isFrozen else { return }
        self.isFrozen = false
        self.pumpLater()
    }

    /// The connection shall end here. `now`: as soon as it is at rest, else when its peer has been told.
    func finish(now: Bool) {
        guard !self.isGone, self.farewell == .none else { return }
        self.thaw()
        (self.liveProtocol ?? self.quiescing).finish()
        guard now else { return }
        self.isEnding = true
        if !self.isDelivering { self.endIfAtRest() }
    }

    /// Without a word to the peer, and past the handlers behind this one.
    func cut() { self.context?.close(promise: nil) }

    private func endIfAtRest() {
        guard self.canEnd, !self.awaitsFlush, let context else { return }
        self.awaitsFlush = true
        self.whenFlushed(context) {
            self.awaitsFlush = false
            // Something may have come meanwhile.
            guard self.canEnd else { return }
            let hasUnread = context.pipeline.socketAnswers(DescriptorFacts.hasUnread)
            // What has been asked by the time of a stop is read, and answered, first; with that this comes round again. But
            // a peer that never pauses is not waited for.
            if hasUnread, self.lateReads > 0 {
                self.lateReads -= 1
                return context.read()
            }
            // Whoever has all of it, and has asked for nothing more, loses nothing by a close on the spot.
            if !hasUnread, !context.pipeline.socketAnswers(DescriptorFacts.hasUnconfirmed) { self.farewell = .atRest }
            // From the end of the pipeline, so that TLS says goodbye.
            self.channel.close(promise: nil)
        }
    }

    private var canEnd: Bool {
        guard !self.isGone, self.farewell == .none, self.held == nil else { return false }
        // One that has no protocol yet and by which nothing has gone either way has begun nothing: TLS that nobody has
        // greeted, say.
        return self.isAtRest
            || self.liveProtocol == nil && !self.isBetweenProtocols && !self.hasPassed && !self.hasWritten
    }
    private var isClosing: Bool { self.farewell == .flushing || self.farewell == .lingering }

    /// While this process leaves, a connection is closed so that its peer hears everything: behind what is still unsent,
    /// and with the input open for a moment. Whatever has crossed our last words would otherwise make the kernel reset
    /// the connection, and a reset throws away what the peer has not read yet (RFC 9112, 9.6).
    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard mode == .all, self.connections.isLeaving, !self.isGone, self.farewell != .atRest, self.channel.isActive
        else { return context.close(mode: mode, promise: promise) }
        promise?.completeWith(self.channel.closeFuture)
        guard self.farewell == .none else { return }
        self.farewell = .flushing
        self.stays = true
        self.held = nil
        self.whenFlushed(context) {
            guard !self.sawEnd, self.channel.isActive else { return context.close(promise: nil) }
            self.farewell = .lingering
            context.close(mode: .output, promise: nil)
            context.read()
            // However long the flush took: the peer has been sent the last of it only now.
            self.connections.loop.assumeIsolated().scheduleTask(in: Self.lingerTime) { context.close(promise: nil) }
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if self.isClosing { context.read() } else { context.fireChannelReadComplete() }
    }

    /// Closing throws away what is still in user space. An empty write behind it tells when it has gone.
    private func whenFlushed(_ context: ChannelHandlerContext, _ body: @escaping () -> Void) {
        context.writeAndFlush(self.wrapOutboundOut(.byteBuffer(ByteBuffer()))).assumeIsolated().whenComplete { _ in
            body()
        }
    }

    /// Takes the connection out of the process: duplicates its descriptor and closes the channel, in one piece, so that
    /// nothing is read in between. The peer sees nothing of it: the open file lives on in the duplicate.
    ///
    /// Not kept paused instead: NIO reads all there is when the peer closes, `autoRead` or not, and would take from the
    /// successor what is its own (NIOPosix/BaseSocketChannel.swift, `readEOF`).
    /// - Returns: nil if it is not at rest; it then comes back when it is.
    func park() -> LiveDescriptor? {
        guard self.canMove, !self.isDelivering, let context, self.channel.isActive else {
            self.thaw()
            return nil
        }
        guard !self.hasUnsent else {
            if self.hasFlushed {
                self.writesByItself = true
                self.thaw()
            }
            self.moveAfterFlush(context)
            return nil
        }
        guard let liveProtocol, let state = liveProtocol.saveState(), let descriptor = self.duplicateDescriptor() else {
            self.isKept = true
            self.finish(now: false)
            return nil
        }
        let resumed = LiveConnection.Resumed(protocolName: type(of: liveProtocol).name, state: state)
        let unread = self.held.map { Array($0.readableBytesView) } ?? []
        self.held = nil
        self.isGone = true
        self.connections.leave(self, as: .parked)
        context.close(promise: nil)
        return LiveDescriptor(
            takingOwnershipOf: descriptor, listener: self.connections.listener, unread: unread, state: resumed.bytes
        )
    }

    private var hasUnsent: Bool {
        // Every channel of NIO's own has the option; without it nothing is known to be unsent.
        ((try? self.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0) > 0
    }

    private func moveAfterFlush(_ context: ChannelHandlerContext) {
        guard !self.awaitsFlush else { return }
        self.awaitsFlush = true
        self.freeze()
        self.whenFlushed(context) {
            self.awaitsFlush = false
            self.hasFlushed = true
            if self.connections.isMoving, !self.isGone { self.connections.enqueueFirst(self) }
            if self.isEnding { self.endIfAtRest() }
        }
    }

    private func duplicateDescriptor() -> OwnedDescriptor? {
        guard let context else { return nil }
        do {
            return try context.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
                try OwnedDescriptor(duplicating: $0).release()
            }.map { OwnedDescriptor(takingOwnershipOf: $0) }
        } catch {
            self.connections.logger.error("a connection stays: its descriptor cannot be duplicated: \(error)")
            return nil
        }
    }
}
#endif  // NIO
