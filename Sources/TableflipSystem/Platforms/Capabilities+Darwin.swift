// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Darwin)
extension Capabilities {
    /// What this system can do.
    package static let current = Capabilities.portable
}
#endif  // canImport(Darwin)
