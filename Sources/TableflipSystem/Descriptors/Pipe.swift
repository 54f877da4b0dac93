// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip

/// Both ends of a pipe(2), close-on-exec and non-blocking.
struct Pipe: ~Copyable {
    let reading: OwnedDescriptor
    let writing: OwnedDescriptor

    init() throws(SystemCallError) {
        var ends: [CInt] = [-1, -1]
        try check("pipe") { tf_pipe(&ends) }
        self.reading = OwnedDescriptor(takingOwnershipOf: ends[0])
        self.writing = OwnedDescriptor(takingOwnershipOf: ends[1])
    }
}
