// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What was seen, where something else was to be.
///
/// Tests here run on threads of their own, where an expectation would not know its test: they throw instead.
struct Unexpected: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

func require(_ condition: Bool, _ complaint: @autoclosure () -> String) throws {
    if !condition { throw Unexpected(complaint()) }
}
