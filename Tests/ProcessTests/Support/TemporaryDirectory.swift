// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

enum TemporaryDirectory {
    /// Makes a directory with these folders in it, and removes it with whatever has come into it.
    static func with<Result>(
        _ folders: String..., body: (URL) async throws -> Result
    ) async throws -> Result {
        let url = FileManager.default.temporaryDirectory.appending(path: "tf-\(UUID().uuidString.prefix(8))")
        for path in [url] + folders.map({ url.appending(path: $0) }) {
            try FileManager.default.createDirectory(at: path, withIntermediateDirectories: true)
        }
        defer { try? FileManager.default.removeItem(at: url) }
        return try await body(url)
    }
}
