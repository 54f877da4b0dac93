// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport

/// An executable file for the shell.
enum Script {
    static func write(_ text: String, to url: URL) throws {
        try Command.writeProgram(at: url.path) {
            try Data("#!/bin/sh\n\(text)\n".utf8).write(to: url)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: url.path)
        }
    }
}
