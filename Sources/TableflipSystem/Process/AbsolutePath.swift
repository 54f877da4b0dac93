// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

extension String {
    /// This path, which counts from a directory if it is relative: the one in which a process was started, where it may
    /// have gone elsewhere since.
    package func absolutePath(from directory: String) -> String { self.hasPrefix("/") ? self : directory + "/" + self }
}
