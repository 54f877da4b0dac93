// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

package import TableflipCore

/// What a carried descriptor is called in a service manager's store (`FDNAME=`, sd_notify(3)): kind, version and name, so
/// that nothing else is needed to know it again.
package struct StoreName: Hashable, Sendable {
    package let kind: DescriptorKind
    package let version: UInt16
    package let name: String

    private static let prefix = "tableflip/"
    /// FDNAME_MAX, src/basic/fd-util.h of systemd.
    private static let longest = 255

    package init(_ entry: InventoryEntry) {
        self.kind = entry.kind
        self.version = entry.version
        self.name = entry.name
    }

    package init?(_ text: String) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        let parts = text.dropFirst(Self.prefix.count).split(separator: "/", maxSplits: 2)
        guard parts.count == 3, let kind = UInt8(parts[0]).flatMap({ DescriptorKind(rawValue: $0) }),
            let version = UInt16(parts[1]), let name = Self.decoded(parts[2])
        else { return nil }
        (self.kind, self.version, self.name) = (kind, version, name)
    }

    /// As the manager takes it; nil: it would be too long.
    package var text: String? {
        let text = "\(Self.prefix)\(self.kind.rawValue)/\(self.version)/\(Self.encoded(self.name))"
        return text.utf8.count <= Self.longest ? text : nil
    }

    /// A colon ends a name there, and only printable ASCII is in one; so these bytes are written as `%3A`.
    private static func encoded(_ name: String) -> String {
        name.utf8.reduce(into: "") { text, byte in
            if (0x21...0x7e).contains(byte), byte != UInt8(ascii: ":"), byte != UInt8(ascii: "%") {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                text += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
    }

    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
