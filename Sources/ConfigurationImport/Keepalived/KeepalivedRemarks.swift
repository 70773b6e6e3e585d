internal import ServiceConfiguration

/// What is said of statements that stand in several blocks.
enum KeepalivedRemarks {
    static let alpha =
        "alpha: ipvsd takes a real server as up until its first check, which it makes at once and which counts alone"

    /// Of `smtp_alert` and its like.
    static func mails(_ line: KeepalivedStatement) -> String {
        "\(line.title): ipvsd sends no mails; see \(Options.notifyMapping.keyName):"
    }
}
