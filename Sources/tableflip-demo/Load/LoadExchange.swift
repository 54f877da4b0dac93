// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore

/// A request and what is expected for it.
struct LoadExchange {
    let began = NIODeadline.now()
    /// The window in which it began.
    let window: String
    /// What is posted, and must come back; nil for a request whose answer is a process id.
    let body: ByteBuffer?
}
#endif  // NIO
