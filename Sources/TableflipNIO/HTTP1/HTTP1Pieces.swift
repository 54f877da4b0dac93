// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore

/// Before the decoder of a connection that does not move. Nothing is held back there, since TLS comes first and knows no
/// messages; but the decoder is given one message after the other, so that it is known whether it is within one.
final class HTTP1Pieces: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let http: HTTP1

    init(_ http: HTTP1) { self.http = http }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var rest = self.unwrapInboundIn(data)
        while let piece = self.http.nextPiece(of: &rest) {
            context.fireChannelRead(self.wrapInboundOut(piece))
            self.http.delivered(piece)
        }
    }
}
#endif  // NIO
