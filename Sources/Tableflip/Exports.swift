// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

// Addresses and errors are values of the pure core, and descriptors of the system layer; users see them as part of
// this module.
@_exported public import enum TableflipCore.DescriptorKind
@_exported public import struct TableflipCore.SocketAddress
@_exported public import struct TableflipCore.UpgradeError
@_exported public import struct TableflipSystem.ListenOptions
@_exported public import struct TableflipSystem.OwnedDescriptor
@_exported public import struct TableflipSystem.SystemCallError
