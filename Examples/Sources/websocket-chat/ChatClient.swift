// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import NIOCore
import NIOWebSocket

/// One client's connection: what it says goes to the log, and what is in the log goes to it.
final class ChatClient: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    /// How long what another process has written may stay unseen.
    private static let pause = TimeAmount.milliseconds(20)

    private let log: Log
    /// What stands before it in the log has been sent.
    private(set) var place: Int
    private var looking: RepeatedTask?

    init(log: Log, place: Int) {
        self.log = log
        self.place = place
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        self.looking = context.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: Self.pause) { _ in
            bound.value.0.catchUp(bound.value.1)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.looking?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = self.unwrapInboundIn(data)
        switch frame.opcode {
        case .text:
            self.log.append(String(buffer: frame.unmaskedData))
            self.catchUp(context)
        case .ping: self.send(.pong, frame.unmaskedData, context)
        case .connectionClose:
            self.send(.connectionClose, frame.unmaskedData, context)
            context.close(promise: nil)
        default: break
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func catchUp(_ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        for line in self.log.lines(from: self.place) {
            self.place += line.utf8.count + 1
            self.send(.text, ByteBuffer(string: line), context)
        }
    }

    private func send(_ opcode: WebSocketOpcode, _ data: ByteBuffer, _ context: ChannelHandlerContext) {
        context.writeAndFlush(self.wrapOutboundOut(WebSocketFrame(fin: true, opcode: opcode, data: data)), promise: nil)
    }
}
