// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore

/// A protocol whose handlers know NIO's own word for leaving.
final class Quiescing: LiveProtocol {
    static let name = ""

    private let channel: any Channel
    /// Some handlers trap when they are told twice.
    private var isTold = false

    init(_ channel: any Channel) { self.channel = channel }

    /// Never known here.
    var isAtRest: Bool { false }

    func portion(of unread: ByteBuffer) -> LivePortion { .bytes(unread.readableBytes) }

    func finish() {
        guard !self.isTold else { return }
        self.isTold = true
        self.channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
    }
}
#endif  // NIO
