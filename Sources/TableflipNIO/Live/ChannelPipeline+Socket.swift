// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOPosix

extension ChannelPipeline {
    /// What the kernel says of the channel's socket, on its event loop; no where there is none (a channel for tests).
    func socketAnswers(_ question: (CInt) -> Bool) -> Bool {
        (try? self.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self, question)) ?? false
    }
}
#endif  // NIO
