// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

/// Connections that go on in another process. One test at a time: each has several processes, and other tests run
/// beside these.
@Suite(.serialized)
enum LiveTests {}
