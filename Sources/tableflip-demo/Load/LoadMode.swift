// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import ArgumentParser

/// What each client of a load does.
enum LoadMode: String, ExpressibleByArgument, CaseIterable {
    /// A new connection for each request.
    case close
    /// One request after the other on one connection.
    case keep
    /// Every second client does the former, the others the latter.
    case mixed
    /// One request after the other on one connection, so many at a time, all written at once.
    case pipeline
    /// Posts bodies in chunks, and wants them back, on one connection.
    case chunked
    /// Posts bodies of a length that it says, and wants them back, on one connection.
    case upload
    /// One request; then nothing until the load ends; then one more.
    case rest
}
#endif  // NIO
